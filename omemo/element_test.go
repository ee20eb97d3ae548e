package omemo

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const testIV = "<iv>AAAAAAAAAAAAAAAA</iv>"

// element makes an <encrypted/> element from what its header and it contain.
func element(header, rest string) string {
	return "<encrypted xmlns='" + NamespaceLegacy + "'><header sid='7'>" + header + "</header>" + rest + "</encrypted>"
}

func TestParseMessage(t *testing.T) {
	good := map[string]string{
		"keys":          element("<key rid='1'>QUJD</key><key rid='2' prekey='true'>REVG</key>"+testIV, "<payload>WA==</payload>"),
		"prekey is 1":   element("<key rid='1'>QUJD</key><key prekey=\"1\" rid=\"2\">REVG</key>"+testIV, "<payload>WA==</payload>"),
		"prefixes":      "<o:encrypted xmlns:o='" + NamespaceLegacy + "'><o:header sid='7'><o:key rid='1' xmlns:p='x' p:rid='3'>QUJD</o:key><o:key rid='2' prekey='true'>REVG</o:key><o:iv>AAAAAAAAAAAAAAAA</o:iv><key rid='9'>QUJD</key></o:header><o:payload>WA==</o:payload></o:encrypted>",
		"references":    element("<key rid='&#x31;'>QUJ&#68;</key><key rid='2' prekey='tr&#117;e'><![CDATA[RE]]>VG</key>"+testIV, "<payload>W&#65;==</payload>"),
		"space":         "\n" + element(" <key rid='1' >\n Q U\tJD\r\n</key ><key  rid = '2'\nprekey='true' >REVG</key>"+testIV, "\n <payload>WA==</payload>\n") + "\n",
		"unknown parts": element("<key rid='1'>QUJD</key><what><key rid='5'>QUJD</key></what><key rid='2' prekey='true'>REVG</key>"+testIV, "<more a='b'/><payload>WA==</payload>"),
		"no padding":    element("<key rid='1'>QUJD</key><key rid='2' prekey='true'>REVG</key>"+testIV, "<payload>WA</payload>"),
		"odd rids":      element("<key rid='x'>!</key><key>QUJD</key><key rid='0'>QUJD</key><key rid='4294967296'>QUJD</key><key rid='+1'>QUJD</key><key rid='1'>QUJD</key><key rid='2' prekey='true'>REVG</key>"+testIV, "<payload>WA==</payload>"),
		"in a stanza":   "<message xmlns='jabber:client' type='groupchat'><body>fallback</body><x><encrypted xmlns='" + NamespaceLegacy + "'/></x>" + element("<key rid='1'>QUJD</key><key rid='2' prekey='true'>REVG</key>"+testIV, "<payload>WA==</payload>") + "<store xmlns='urn:xmpp:hints'/></message>",
	}
	want := fmt.Sprint(&Message{
		SID: 7, Keys: []Key{{RID: 1, Data: []byte("ABC")}, {RID: 2, PreKey: true, Data: []byte("DEF")}}, IV: make([]byte, 12), Payload: []byte("X"),
	})
	for name, xml := range good {
		msg, err := ParseMessage(Legacy, []byte(xml))
		if err != nil || fmt.Sprint(msg) != want {
			t.Errorf("%s: %+v, %v", name, msg, err)
		}
		msg, err = ParseMessage(Legacy, []byte(xml), Address{Device: 2}, Address{Device: 3})
		if err != nil || len(msg.Keys) != 1 || string(msg.Keys[0].Data) != "DEF" {
			t.Errorf("%s, for device 2: %+v, %v", name, msg, err)
		}
	}
	if msg, err := ParseMessage(Legacy, []byte(element("<key rid='1'>no base64!</key><key rid='2'>QUJD</key>", ""))); err != nil || msg.Keys[0].Data != nil || msg.Payload != nil || msg.IV != nil {
		t.Errorf("broken key: %+v, %v", msg, err)
	}
	if msg, err := ParseMessage(Legacy, []byte(element(testIV, "<payload/>"))); err != nil || msg.Payload == nil {
		t.Errorf("empty payload: %+v, %v", msg, err)
	}
}

// TestKeysForOthersAreRead refuses what is broken among keys that nobody wants.
func TestKeysForOthersAreRead(t *testing.T) {
	const good = "<key rid='9'>QUJD</key>"
	for _, broken := range []string{
		"<key rid='9'>QUJD</kex>", "<key rid='9'>QUJD</key", "<key rid='9'>QUJD", "<key rid='9>QUJD</key>", "<key rid='9'QUJD</key>",
		"<key rid=\"9'>QUJD</key>", "<key rid=9>QUJD</key>", "<key rid='9'><a></key>", "<key rid='9'><!-- --></key>", "<key rid='9'", "<key rid=",
	} {
		xml := element(good+broken+good, "")
		if msg, err := ParseMessage(Legacy, []byte(xml), Address{Device: 1}); err == nil {
			t.Errorf("%s: %+v", xml, msg)
		}
		cut := xml[:strings.Index(xml, broken)+len(broken)]
		if msg, err := ParseMessage(Legacy, []byte(cut), Address{Device: 1}); err == nil {
			t.Errorf("%s: %+v", cut, msg)
		}
	}
}

func TestParseMessageRefuses(t *testing.T) {
	deep := strings.Repeat("<a>", maxDepthXML) + strings.Repeat("</a>", maxDepthXML)
	attributes := ""
	for i := range maxAttributes + 1 {
		attributes += fmt.Sprintf(" a%d=''", i)
	}
	bad := map[string]string{
		"two ivs":            element(testIV+testIV, ""),
		"short iv":           element("<iv>AAAA</iv>", ""),
		"empty iv":           element("<iv/>", ""),
		"payload, no iv":     element("<key rid='1'>QUJD</key>", "<payload>WA==</payload>"),
		"payload twice":      element(testIV, "<payload>WA==</payload><payload>WA==</payload>"),
		"payload no base64":  element(testIV, "<payload>W</payload>"),
		"element in payload": element(testIV, "<payload><a/></payload>"),
		"element in key":     element("<key rid='1'><a/></key>", ""),
		"no header":          "<encrypted xmlns='" + NamespaceLegacy + "'/>",
		"two headers":        "<encrypted xmlns='" + NamespaceLegacy + "'><header sid='1'/><header sid='1'/></encrypted>",
		"no sid":             "<encrypted xmlns='" + NamespaceLegacy + "'><header/></encrypted>",
		"sid 0":              "<encrypted xmlns='" + NamespaceLegacy + "'><header sid='0'/></encrypted>",
		"two elements":       "<message>" + element("", "") + element("", "") + "</message>",
		"two roots":          element("", "") + element("", ""),
		"text after":         element("", "") + "x",
		"text before":        "x" + element("", ""),
		"cut off":            strings.TrimSuffix(element("", ""), ">"),
		"cut off text":       "<message>text",
		"end tag alone":      "</encrypted>",
		"wrong end":          "<message><a></b></message>",
		"wrong longer end":   "<message><a></ab></message>",
		"comment":            "<message><!-- --></message>",
		"doctype":            "<!DOCTYPE message [<!ENTITY a 'b'>]><message/>",
		"instruction":        "<message><?a?></message>",
		"unknown entity":     element("<key rid='&a;'/><iv>&a;</iv>", ""),
		"bad reference":      element("<iv>&#0;</iv>", ""),
		"endless reference":  element("<iv>&#49</iv>", ""),
		"unbound prefix":     "<message><a:b/></message>",
		"attribute twice":    "<message a='1' a='2'/>",
		"attribute bare":     "<message a=1/>",
		"attribute alone":    "<message a/>",
		"attributes touch":   "<message a='1'b='2'/>",
		"tag in attribute":   "<message a='<'/>",
		"open attribute":     "<message a='",
		"too deep":           "<message>" + deep + "</message>",
		"many attributes":    "<message" + attributes + "/>",
		"no name":            "<message>< /></message>",
		"number for a name":  "<1/>",
		"two colons":         "<message xmlns:a='b'><a:b:c/></message>",
		"too long":           "<message>" + strings.Repeat(" ", maxElement) + "</message>",
		"open cdata":         "<message><![CDATA[</message>",
		"slash":              "<message/ >",
		"empty tag":          "<>",
	}
	for name, xml := range bad {
		if _, err := ParseMessage(Legacy, []byte(xml)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: error %v, want ErrMalformed", name, err)
		}
	}
	for name, xml := range map[string]string{
		"nothing":         "",
		"plain message":   "<message><body>hello</body></message>",
		"other namespace": "<encrypted xmlns='urn:xmpp:omemo:2'/>",
		"forwarded":       "<message><forwarded>" + element("", "") + "</forwarded></message>",
	} {
		if _, err := ParseMessage(Legacy, []byte(xml)); !errors.Is(err, ErrNotEncrypted) {
			t.Errorf("%s: error %v, want ErrNotEncrypted", name, err)
		}
	}
}

func TestParseDeviceList(t *testing.T) {
	list := func(id string) string {
		return "<list xmlns='" + NamespaceLegacy + "'><device id='" + id + "'/></list>"
	}
	for xml, want := range map[string][]uint32{
		list("5"): {5},
		"<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='x'><item id='current'>" + list("5") + "</item></items></pubsub>":              {5},
		"<items xmlns='http://jabber.org/protocol/pubsub'><item id='old'>" + list("1") + "</item><item id='current'>" + list("5") + "</item></items>": {5},
		"<items xmlns='http://jabber.org/protocol/pubsub'><item id='a'>" + list("5") + "</item><item id='b'>" + list("1") + "</item></items>":         {5},
		"<list xmlns='" + NamespaceLegacy + "'><device xmlns='x' id='1'/><other id='2'/><device id='5'><device id='3'/></device></list>":              {5},
	} {
		if ids, err := ParseDeviceList(Legacy, []byte(xml)); err != nil || !slices.Equal(ids, want) {
			t.Errorf("%s: %v, %v", xml, ids, err)
		}
	}
	for _, xml := range []string{"", "<list/>", "<list xmlns='urn:xmpp:omemo:2'/>", "<list xmlns='" + NamespaceLegacy + "'>"} {
		if _, err := ParseDeviceList(Legacy, []byte(xml)); !errors.Is(err, ErrDeviceList) {
			t.Errorf("%q: error %v, want ErrDeviceList", xml, err)
		}
	}
	many := AppendDeviceList(nil, Legacy, func() (ids []uint32) {
		for i := range uint32(2 * maxDevices) {
			ids = append(ids, i+1)
		}
		return ids
	}()...)
	if ids, err := ParseDeviceList(Legacy, many); err != nil || len(ids) != maxDevices {
		t.Errorf("%d devices of a long list, %v", len(ids), err)
	}
}

func TestParseBundle(t *testing.T) {
	good := string(newParty(t, Legacy, "alice@example.org").bundle(t).AppendXML(nil))
	wrapped := "<items node='x'><item id='1'>" + good + "</item></items>"
	if _, err := ParseBundle(Legacy, []byte(wrapped)); err != nil {
		t.Error(err)
	}
	first := good[strings.Index(good, "<preKeyPublic"):strings.Index(good, "</preKeyPublic>")] + "</preKeyPublic>"
	for name, c := range map[string]struct {
		old, new string
		left     int
	}{
		"broken prekey":   {first, "<preKeyPublic preKeyId='1'>BQ==</preKeyPublic>", 99},
		"no base64":       {first, "<preKeyPublic preKeyId='1'>!</preKeyPublic>", 99},
		"no id":           {first, "<preKeyPublic>BQ==</preKeyPublic>", 99},
		"prekey twice":    {first, first + first, 100},
		"something else":  {first, "<b/>", 99},
		"unknown element": {"<identityKey>", "<more/><identityKey>", 100},
	} {
		b, err := ParseBundle(Legacy, []byte(strings.Replace(good, c.old, c.new, 1)))
		if err != nil || len(b.PreKeys) != c.left {
			t.Errorf("%s: %+v, %v", name, b, err)
		}
	}
	identity := good[strings.Index(good, "<identityKey>"):strings.Index(good, "<prekeys>")]
	weak := "<identityKey>BQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA</identityKey>"
	large := "<identityKey>Be///////////////////////////////////////////3//</identityKey>"
	for name, c := range map[string][2]string{
		"identity twice":    {identity, identity + identity},
		"weak identity":     {identity, weak},
		"identity too long": {identity, large},
		"short signature":   {"<signedPreKeySignature>", "<signedPreKeySignature>QUJD</signedPreKeySignature><s>"},
		"spk without id":    {"signedPreKeyId", "id"},
		"prekeys twice":     {"<prekeys>", "<prekeys/><prekeys>"},
		"another element":   {"<bundle", "<bottle"},
		"cut off":           {"</bundle>", ""},
	} {
		if _, err := ParseBundle(Legacy, []byte(strings.Replace(good, c[0], c[1], 1))); !errors.Is(err, ErrBundle) {
			t.Errorf("%s: error %v, want ErrBundle", name, err)
		}
	}
	empty := good[:strings.Index(good, "<prekeys>")] + "</bundle>"
	if _, err := ParseBundle(Legacy, []byte(empty)); !errors.Is(err, ErrNoPreKey) || !errors.Is(err, ErrBundle) {
		t.Errorf("no prekeys: error %v", err)
	}
}

func TestURI(t *testing.T) {
	a, b := IdentityKey(random(t, 32)), IdentityKey(random(t, 32))
	device := Address{`alice\3aexample.org%matrix@bridge.example.org`, 5}
	uri := URI(device, a)
	jid, keys, err := ParseURI(uri)
	if err != nil || jid != device.JID || keys[5] != a {
		t.Errorf("%s: %q, %v, %v", uri, jid, keys, err)
	}
	more := uri + ";omemo-sid-6=" + strings.ToUpper(b.Fingerprint()) + "&body=hello"
	if _, keys, err = ParseURI(more); err != nil || len(keys) != 2 || keys[6] != b {
		t.Errorf("%s: %v, %v", more, keys, err)
	}
	if _, keys, err = ParseURI("XMPP:a@b.example?omemo=05" + strings.ReplaceAll(b.Fingerprint(), " ", "-")); err != nil || keys[0] != b {
		t.Errorf("key of an unnamed device: %v, %v", keys, err)
	}
	for _, s := range []string{
		"", "xmpp:a@b.example", "xmpp:a@b.example?message", "xmpp:?omemo=" + b.Fingerprint(), "mailto:a@b.example?omemo=" + b.Fingerprint(),
		"xmpp:a@b.example?omemo-sid-0=" + b.Fingerprint(), "xmpp:a@b.example?omemo-sid-x=" + b.Fingerprint(), "xmpp:a@b.example?omemo-sid-1=00",
	} {
		if _, _, err := ParseURI(s); !errors.Is(err, ErrFingerprint) {
			t.Errorf("%q: error %v, want ErrFingerprint", s, err)
		}
	}
	if _, err := ParseFingerprint(strings.Repeat("a", 66)); !errors.Is(err, ErrFingerprint) {
		t.Errorf("66 digits of another type: %v", err)
	}
}
