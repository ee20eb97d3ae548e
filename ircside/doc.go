// Package ircside is the IRC half of the gateway: one connection, the relay, says what others said as "<nick> text" and
// hears what is said in the channels of the bridges.
//
// A direct chat is between a nick and somebody on another network. The nick writes to the relay, with the other one's
// address in front:
//
//	/msg lockbridge juliet@example.org: hello
//	/msg lockbridge @alice:example.org: hello
//	/msg lockbridge juliet@example.org%work: hello
//
// The last form names the network, where the address could be on several. Answers come from the relay as
// "<juliet@example.org> text". Nothing else that is said to the relay alone crosses.
//
// An answer or a reaction to something that was said in a chat (draft/reply, draft/react) needs no address. Whoever writes
// "help" or "who #channel" gets an answer of the gateway's; who is in a channel is told to those who are in it.
//
// Who is who on IRC is a matter of nicks: a chat belongs to whoever has the nick just then, so it does not follow a
// change of nick, and after a quit it may be somebody else's. Accounts (account-tag, WHOX) are not asked for. Since each
// new nick is a new person, how many chats begin is counted by user and host as well.
//
// # What is said
//
// Lines of one channel leave in order, and never faster than the pace of the config, so that no server cuts us off for
// flooding; channels and chats share the pace fairly. What leaves is always one line, valid UTF-8, and short enough that
// no server cuts it. What is said more than ten minutes late begins with the time of its origin, in UTC.
//
// Formatting is written in the codes of IRC clients, anew on each line, and read from them; a channel that does not take
// it gets none. People who are on the network are mentioned by their nick, all others by a name that pings nobody.
//
// The relay stands for many people: it has a reaction where any of them has it, and types while any of them does. Neither
// is worth waiting for. A line of text goes before reactions of its channel and before lines that tell of joins and
// reactions, which are left out when they have waited for 30 s; typing is said only when nothing waits. What one person
// says at a stretch beyond twice what one message may become is gathered behind a link; a stretch goes by when it was said.
//
// Where the server offers draft/multiline, several lines are one message. Where it offers draft/message-redaction, what
// was said is taken back; elsewhere a line tells that it was.
//
// Where the server offers echo-message and labeled-response (IRCv3), a delivery counts as sent when its labelled echo
// has come back and is recorded; the echo also tells the line's msgid. Elsewhere each batch of lines is followed by a
// PING, and it counts as sent when the PONG has come back: the server has read the lines by then, and whatever it had
// to refuse it has refused.
//
// IRC has no way to ask whether a line arrived, so it is at-least-once. What is in doubt after a connection broke or a
// process died are the lines that were written and not confirmed, 8 KiB of them at most. They are said again, except:
//
//	the echo was recorded, the outcome was not    not said again; the journal knows the part (Delivery.Known)
//	the server has a history (draft/chathistory)  the history is read first; what it holds is linked, not said again
//	a ghost of ours is still heard saying it      linked, not said again, if it is heard before the next try
//	lines of one message, same process            those that were confirmed are not repeated
//
// So a server with history gives exactly-once, as long as it hands our lines back unchanged; one with echoes repeats at
// most what was on its way between server and us; one without, besides, what was confirmed but not yet recorded when the
// process died.
//
// A channel that we may not enter or not speak in makes its own lane wait, with growing pauses of up to five minutes, and
// says why; nothing is dropped for it until the delivery is too old. A channel that forwards (numeric 470) is followed
// where the other one's topic names it.
//
// # What is heard
//
// Where the server offers draft/chathistory, with msgids, nothing is missed within the configured time: each channel's
// history is read from the last line that the journal took, oldest first, before what is said meanwhile, and so are direct
// chats. The place of that last line is written in the transaction that takes it. Only lines with a msgid are read, since
// it is by them that we know what we had. What was said in a channel before we first came there is not read.
//
// Elsewhere IRC keeps nothing for us: what is said while we are away is lost, and no replay that a bouncer or a server
// sends on its own is read. What arrives faster than the journal takes it waits in a bounded queue (8,192 lines), and
// then at the server for a while; what overflows after that is counted (lockbridge_irc_lost_total) and logged, and where
// there is a history it is read from there once the journal takes something again.
//
// An IRC user is a nick: a reaction or a retraction is that of whoever has the nick, and what others' words a REDACT may
// take back the server decides. Those who leave in a netsplit count as there for ten minutes. A topic is told when it
// changes, also while we were away, and not when we first come into a channel. Typing, reactions and retractions are not
// read from histories.
//
// The protocol's grammar (messages, tags, sources, numerics) is girc's. Its client is not used: it drops what it cannot
// write without telling, ends the connection at a malformed line, and answers JOINs and CTCP queries at a pace of its
// own, which none of the guarantees above would survive.
package ircside
