// Package xmppside is the XMPP half of the gateway: an external component (XEP-0114) whose occupants sit in rooms
// (XEP-0045), speak for people of other networks, and open and seal what is said there by OMEMO (XEP-0384).
//
// # Policy
//
// One occupant per room listens, the gateway's own; all others only speak. A room that must be sealed is carried only
// while it is members-only and non-anonymous, and nothing enters or leaves it in the clear, ever: not as a fallback,
// not for a member without a device, not after an error.
//
// The component answers for every address of its domain, as a server would for its accounts, always from the address
// that was asked, and never leaves a query unanswered. It never answers a room message with an error, since servers
// expel an occupant for that.
//
// People write to each other through puppets, which are accounts to them: they have a name, presence, devices, and a
// server that answers for them. A puppet that nobody has met is made when somebody who may have direct chats turns to its
// address and the other network says that its person exists; strangers get errors, and nothing is kept of them. What has
// to be sealed is sealed for all of the recipient's devices or comes back; a report of that holds nobody's words.
//
// What people let others know besides words (who types, what was read, how they look, who comes and goes) crosses as far
// as the config says, and of a room that hides addresses without any: occupants are named by their occupant-ids, and on
// the card that a picture is fetched from nothing else is looked at. A subject never crosses on a sealed bridge.
//
// A file is uploaded once for all who are to fetch it, in the name of the puppet that shares it; for a sealed room it is
// encrypted on the way, under a name that tells nothing. What stands outside of a ciphertext is no file. What cannot be
// shared is named instead, and the text crosses.
//
// # Guarantees
//
// A message of a room is accepted in the order of the stream and at most once: its seen-key is the stanza-id that the
// room itself gave it (XEP-0359). What counts of what is said live is what follows the join on the same connection; what
// was said before, since the room was read last, comes from its archive (XEP-0313) page by page, in order and with the
// time when it was said, as far back as the config wants. Meanwhile what is said live waits. Of a room without archive
// the join's history is all there is: where it does not seem to reach back, that is counted and logged.
//
// What comes sealed and cannot be opened is told to the others, at most once a minute, and its session is mended: with
// people whom we know, within limits that keep two peers from mending each other for ever, and after history only once
// it is read. What was sealed for one place does not cross from another.
//
// What is delivered to a room carries the delivery's key in its origin-id. It counts as sent when the room has reflected it.
// A delivery whose reflection was not seen is said again only after the room was entered anew and what it says of the
// time since was read: what had arrived is found there. A repetition writes the same sealed bytes, so that a message key
// is never used twice, and a device that gets both opens one. In a room without archive, which has had more than its
// history holds since then, it may be said twice. A connection that breaks before the write, between write and
// reflection, or between reflection and commit makes no difference to that, nor does the death of the process.
//
// A direct message is known by its sender's full JID, its id and its payload, since no room names it. It is confirmed
// (XEP-0184) when it is safe in the journal. What is delivered directly counts as sent when the recipient's client has
// confirmed it, or our server has answered a ping behind it; if it comes back later, its sender is told. Where the
// connection breaks before that answer it is said again, under the same id: sealed, it is the same bytes, and every client
// shows it once; in the clear that is left to the client. A component that is away gets no direct messages: they return
// to who wrote them.
//
// A delivery may be several stanzas: a text and its files, a retraction of all of that. It has arrived when the room has
// reflected them all. Before the first is written all of them are durable, so those that did not arrive are said again in
// the same words.
//
// What is edited or taken back is named through its sender: by ids that only they have, or by words that the journal knows
// to be theirs; where the room hides who somebody is, in the same stay alone. A moderator's act counts from the room's own
// address and from nobody else. What stands beside a ciphertext is believed only where the room's metadata may go in the
// clear, and never so that words vanish or come from nowhere; what stands beside an envelope of OMEMO 2 is not believed.
// Only the voice that said something for us changes it or takes it back; where it has gone, that is told in words.
//
// A room that cannot be entered or spoken in holds up its own lane and no other; the lane is told why, and it is due again
// when the room has been entered.
//
// # Who owns what
//
// Run (conn.go) owns all goroutines. One of them reads: it splits the stream into stanzas and sorts them, and neither
// decodes nor writes. One worker turns messages and presences into arrivals, in stream order, and keeps the
// occupants' tables. A few others answer queries. Each room has a keeper, which enters it and puts it right again; keepers
// follow the set of rooms, which is replaced as a whole when the config changes or a room has moved (carried.go).
package xmppside
