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
// Who is who on IRC is a matter of nicks: a chat belongs to whoever has the nick just then, so it does not follow a
// change of nick, and after a quit it may be somebody else's. Accounts (account-tag, WHOX) are not asked for. Since each
// new nick is a new person, how many chats begin is counted by user and host as well.
//
// Guarantees. Lines of one channel leave in order, and never faster than the pace of the config, so that no server cuts
// us off for flooding; channels and chats share the pace fairly. What leaves is always one line, valid UTF-8, and short
// enough that no server cuts it.
//
// Where the server offers echo-message and labeled-response (IRCv3), a delivery counts as sent when its labelled echo
// has come back and is recorded; the echo also tells the line's msgid. Elsewhere each batch of lines is followed by a
// PING, and it counts as sent when the PONG has come back: the server has read the lines by then, and whatever it had
// to refuse it has refused. Either way IRC is at-least-once: a connection that breaks between a line and its
// confirmation leaves no way to ask, so the line is said again. Lines of a longer message that were confirmed before
// are not repeated by the same process.
//
// Inbound, IRC keeps nothing for us: what is said while we are away is lost. What arrives faster than the journal takes
// it waits in a bounded queue, and then at the server for a while; what overflows after that is counted
// (lockbridge_irc_lost_total) and logged. Only lines with a msgid are de-duplicated; replayed history is not read.
//
// The protocol's grammar (messages, tags, sources, numerics) is girc's. Its client is not used: it drops what it cannot
// write without telling, ends the connection at a malformed line, and answers JOINs and CTCP queries at a pace of its
// own, which none of the guarantees above would survive.
package ircside
