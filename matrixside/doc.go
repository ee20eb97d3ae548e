// Package matrixside is the Matrix half of the gateway: an application service (Matrix specification, Application
// Service API) of one homeserver.
//
// Policy: what people elsewhere say is said by ghosts, users of a reserved namespace that are made when somebody
// first speaks or is asked for; what the gateway itself has to say is said by one bot. A room is entered only if the
// configuration names it, or as a direct chat: by one ghost, for one user, and for as long as the two are alone. A
// room that is itself end-to-end encrypted is not bridged: nothing but one explanation is ever sent there. Anybody may
// invite a ghost, so invitations are counted, by user and by server.
//
// A refusal that is about a room makes that room's lane wait, since somebody may mend it; one that is about a message or
// its author gives the message up. A room that was replaced is followed only if the new one names it as its predecessor.
//
// What was said is changed in the voice that said it: a ghost edits and redacts its own events, which takes no power. The
// bot uses power of its own only to remove what was said on Matrix itself, where the bridge allows that, and for topics. A
// redaction is taken for a moderator's only if the room's power levels make the sender one. HTML is anybody's: it is read
// within bounds, and a pill means the user that it leads to, whatever it says. Nobody is notified but those who are
// mentioned, and a whole room never.
//
// Guarantees: a transaction of the homeserver is acknowledged only after everything in it is durable, and events are
// recognised by their event id alone, since homeservers reuse transaction ids for other events. What a homeserver
// pushes late, out of turn or never, because it or we were away, is read from the rooms' history, in order, before
// anything newer is taken. An invitation is answered even if the process dies in between, and nothing that was said
// after it is missed. Whatever was sent carries its delivery key in its content, so that a send whose answer got lost is
// found again instead of repeated.
package matrixside
