// Package peers drives the real programs that Lockbridge talks to, for the demo and the end-to-end tests: XMPP clients with OMEMO
// (a scripted one on python-omemo, and Profanity in tmux), a Matrix user, an IRC user, and Lockbridge itself.
//
// Nothing here waits by sleeping: every driver turns what its peer says into events and Await returns as soon as one fits, or fails
// with what was seen instead. A peer's process belongs to the driver that started it and ends with it.
package peers
