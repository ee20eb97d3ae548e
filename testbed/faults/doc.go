// Package faults shows what a gateway loses, repeats and disorders when something breaks under load: it puts Lockbridge between real
// servers with real clients, has everybody say numbered messages, breaks one thing, and counts what arrived.
//
// A Stage is one gateway with two bridges (an OMEMO room and a plain one), a person on each network who speaks in both rooms and hears
// everything said there, and toxiproxies on every way between the gateway and its servers. A Load has everybody speak; the Ledger knows
// what their own servers accepted and what arrived where, and its Report compares the two by direction.
//
// What counts as said: on XMPP what the room reflected, on Matrix what the homeserver answered with an event id, on IRC what the server
// echoed. The people of XMPP and Matrix come back after a restart of their server and read what they missed, so that an observer's
// absence is never mistaken for a loss; on IRC, which keeps nothing, the gateway is let in again after them.
//
// A fault ends when everything arrived, the gateway's lanes are empty and a copy had time to come; or when nothing moved for long. How
// long it takes does not matter: on a busy machine a server may take minutes for what is waiting in a lane, and nothing of it is lost.
// Where something is missing, the lanes are shown, which tell the one from the other.
//
// IRC offers less than the others, and two things are counted apart for it. "Not offered": said while the gateway was not in the
// channel, or within a second before it left (nothing tells a server that a line was taken in), and arrived nowhere. "Said again": a
// line to IRC that was written shortly before a connection broke or a process died, so that its echo could not be noted any more; it is
// said once more, since nobody can be asked whether it arrived. Everything else must be nought.
package faults
