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
// # Guarantees
//
// A message of a room is accepted in the order of the stream and at most once: its seen-key is the stanza-id that the
// room itself gave it (XEP-0359). After a lost connection the rooms are entered again, and their archives read.
//
// What comes sealed and cannot be opened is told to the others, at most once a minute, and its session is mended: with
// people whom we know, within limits that keep two peers from mending each other for ever, and after history only once
// it is read. What was sealed for one place does not cross from another.
//
// What is delivered carries the delivery's key as origin-id. It counts as sent when the room has reflected it, and a
// repetition writes the same bytes, so that a message key is never used twice.
//
// A direct message is known by its sender's full JID, its id and its payload, since no room names it. It is confirmed
// (XEP-0184) when it is safe in the journal. What is delivered directly counts as sent when our server has answered a
// ping behind it; if it comes back later, its sender is told. A component that is away gets no direct messages: they
// return to who wrote them.
//
// # Who owns what
//
// Run (conn.go) owns all goroutines. One of them reads: it splits the stream into stanzas and sorts them, and neither
// decodes nor writes. One worker turns messages and presences into arrivals, in stream order, and keeps the
// occupants' tables. A few others answer queries. Each room has a keeper, which enters it and puts it right again.
package xmppside
