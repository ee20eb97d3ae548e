package xmppside

import (
	"context"
	"crypto/sha1" //nolint:gosec // XEP-0115 asks for it; nothing is kept secret by it
	"encoding/base64"
	"slices"
	"strings"
)

// capsURI names the program in XEP-0115.
const capsURI = "https://lockbridge.example/caps"

// occupantFeatures is what our occupants' full JIDs understand. The +notify one asks servers for the device lists of
// people who let us subscribe to their presence (XEP-0163, section 4.1).
func (s *Side) occupantFeatures() []string {
	out := []string{nsDiscoInfo, nsDiscoItems, nsCaps, nsPing, nsVersion, nsMUC, nsReceipts, nsStates, nsMarkers,
		nsCorrect, nsReply, nsFallback, nsRetract, nsModerate, nsReactions, nsStyling, nsMarkup, nsSpoiler, nsReference, nsOOB, nsSharing, nsSealedFile}
	for _, v := range s.versions {
		out = append(out, v.Namespace(), listNode(v)+"+notify")
	}
	return out
}

// accountFeatures is what a bare JID offers: an account with personal eventing (XEP-0163), which is us.
func accountFeatures() []string {
	out := []string{nsDiscoInfo, nsDiscoItems, nsPubSub, nsVCard, nsPing}
	for _, f := range []string{"retrieve-items", "persistent-items", "access-open", "subscribe", "last-published", "item-ids", "auto-subscribe", "filtered-notifications"} {
		out = append(out, nsPubSub+"#"+f)
	}
	return out
}

// capsVer is the hash of XEP-0115, section 5.1, over one identity without language.
func (s *Side) capsVer() string {
	features := s.occupantFeatures()
	slices.Sort(features)
	text := "client/bot//Lockbridge<" + strings.Join(features, "<") + "<"
	sum := sha1.Sum([]byte(text)) //nolint:gosec // see above
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (s *Side) capsNode() *node {
	return el(nsCaps, "c", "hash", "sha-1", "node", capsURI, "ver", s.capsVer())
}

// discoInfo tells what an address is: the component, an account (bare) or an occupant (full).
func (s *Side) discoInfo(iq, query *node, domain, full bool) *node {
	asked := query.get("node")
	answer := el(nsDiscoInfo, "query")
	if asked != "" {
		if !full || asked != capsURI+"#"+s.capsVer() {
			return refusal(iq, "cancel", "item-not-found")
		}
		answer.attrs = append(answer.attrs, attr{"node", asked})
	}
	var features []string
	switch {
	case domain:
		answer.add(el(nsDiscoInfo, "identity", "category", "gateway", "type", "xmpp", "name", "Lockbridge"))
		features = []string{nsDiscoInfo, nsDiscoItems, nsPing, nsVersion}
	case full:
		answer.add(el(nsDiscoInfo, "identity", "category", "client", "type", "bot", "name", "Lockbridge"))
		features = s.occupantFeatures()
	default:
		answer.add(
			el(nsDiscoInfo, "identity", "category", "account", "type", "registered"),
			el(nsDiscoInfo, "identity", "category", "pubsub", "type", "pep"))
		features = accountFeatures()
	}
	for _, f := range features {
		answer.add(el(nsDiscoInfo, "feature", "var", f))
	}
	return result(iq, answer)
}

// discoItems lists an account's nodes. The component lists nothing: who its people are is not for everybody.
func (s *Side) discoItems(ctx context.Context, iq *node, domain, full bool) *node {
	answer := el(nsDiscoItems, "query")
	to := bare(iq.get("to"))
	if !domain && !full {
		nodes := []string{nsNick}
		if dev, err := s.device(ctx, to); err == nil && s.publishes(to) {
			for _, v := range s.versions {
				bundle, _ := bundleNode(v, dev.ID)
				nodes = append(nodes, listNode(v), bundle)
			}
		}
		for _, n := range nodes {
			answer.add(el(nsDiscoItems, "item", "jid", to, "node", n))
		}
	}
	return result(iq, answer)
}
