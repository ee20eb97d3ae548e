// Package gateway joins rooms of several chat networks through one durable journal.
//
// It is the leaf that everything else is written against: the nouns that all networks share (Event, Person, Ref and
// the bodies), the two verbs that cross the border of a network (Inbox.Accept in, Side.Deliver out), and the
// interfaces of the store behind them. It knows no network and no SQL.
//
// # The path
//
// A side hears something and calls Accept. In one transaction the gateway skips what it has seen, lets the side open
// and decode the rest (Arrival.Read), resolves what it points at, decides where it goes, and appends the event with
// one delivery a destination. When Accept returns nil all of it is durable, and the side acknowledges its source.
//
// A lane is one destination room. A courier takes the head of each lane that is due, fills in the room's own ids,
// degrades what the room cannot show, and hands the run to the destination's side. What the network took is linked
// and finished in one transaction.
//
//	source side ── Accept ──▶ journal ──▶ lane ──▶ courier ── Deliver ──▶ destination side
//	                             ▲                                              │
//	                             └────────── our own echo, by Accept ◀──────────┘
//
// # What is promised
//
// Order is promised per lane: by the sequence that the store gave the deliveries at commit, never by a clock or an id.
// A failing head holds up its own lane and no other, until it succeeds or reaches its age limit; then its sender is
// told and the lane goes on. A lane in which too much waits gives up what is newest. What was given up is a dead letter:
// its text is kept for some days, so that an operator can have it tried again, or drop it.
//
// Nothing is lost, and nothing is carried twice where the network lets us know what arrived:
//
//	the process dies          the source                          the destination
//	before COMMIT of Accept   sends again: nothing had happened   hears nothing yet
//	after it, before the      sends again: skipped by its         unaffected
//	acknowledgement           seen-key
//	during Deliver            unaffected                          Deliver runs again with the same Key; the side first
//	                                                              looks whether the first try arrived (its echo in the
//	                                                              room's history), then sends the same sealed bytes
//	after Deliver, before     unaffected                          as above
//	COMMIT of Finish
//
// A delivery whose echo says that it has arrived whole ends with the commit of that echo, and needs no Finish. While the
// database is away nothing is accepted, what was delivered is recorded when it is back, and nothing is said twice
// meanwhile. A lease that is lost takes its courier with it; the next one counts all that waits as tried. A message whose
// delivery panics is tried by itself, a few times, and takes none of its neighbours along.
//
// Another bridge in the same rooms would repeat what ours said, for ever; see loop.go.
//
// IRC carries no id of ours: with echo-message it is confirmed by its echo, without it a line may be said twice after
// a crash. A component's XMPP stream has no acknowledgement either: what was said in a room while it was down is read
// from the room's archive, where it keeps one, and told apart by the stanza-ids that were seen. Of a room without an
// archive only what it hands out on joining is read, often 20 messages; what is older than that is missed.
//
// # What people do to what was said
//
// An edit stands for its original, in every room: whoever edits or answers the edit means that, and it answers what the
// original did. It is its author's alone; anybody else's is a message. A retraction is the author's, or a moderator's as
// far as the bridge allows; it wipes what was kept of the words, and edits that come after it go nowhere. Reactions are
// sets, one a person and message, made in Accept's transaction; what is delivered is the set as it stands by then, so that
// a late or repeated delivery does no harm. An edit or an answer whose target is not known becomes a message; a reaction or
// a retraction goes nowhere and is counted. What a side cannot show after all it gives back once, to be said more plainly.
//
// What expires, who types and who has read what, never reaches the journal: it waits in memory, bounded, beside the
// lanes, and is shown at once or not at all.
//
// # What crosses in the clear
//
// A bridge with encryption = "required" has legs that are sealed and legs that its config names as clear. Content that
// comes in plain on a sealed leg is not even journalled: its sender is told, privately. A delivery on a sealed leg is
// marked with Seal, and a side that cannot seal it drops it. Bodies rest sealed in the journal and are wiped with
// their last delivery; for quotes and corrections 300 bytes of them stay, sealed as well, until their retention ends.
//
// # Ownership
//
// Goroutines start in gateway.go (one courier and one side for each network that this process owns) and deliver.go
// (one for each lane with something due, one for what expires). Run waits for all of them.
package gateway
