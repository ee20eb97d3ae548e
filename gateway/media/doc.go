// Package media fetches the files that messages carry, hands their bytes on, and serves links to them. It implements
// gateway.Media.
//
// # One way for all files
//
// A file is fetched whole into the spool, verified, and then read as often as needed. The spool holds ciphertext and
// nothing else: a file that is encrypted at its source stays as it came, any other is encrypted on the way in with a key
// that never leaves memory. The spool's files have no name, so that the operating system forgets them with the process.
// Memory does not grow with a file's size: each reader has a buffer of 64 KiB.
//
// No byte of an encrypted file is handed on before all of it was verified. AES-GCM is therefore read twice: once for
// the tag, once for the text.
//
// # What strangers can make it do
//
// URLs are written by strangers. Only https URLs are fetched, and only from addresses in the public Internet, whatever
// name led there and whatever redirects come: the address is judged when it is dialled, after the name was looked up.
// [media] allow makes exceptions. Size, time, headers and redirects are bounded, a compressed answer is refused, and
// eight transfers run at once, two of them from one host. A host that does not answer is given up after a minute,
// because a room's messages wait meanwhile. For the same reason those who follow links have half of the transfers and
// half of the spool at the most.
//
// Errors tell senders nothing about what lies behind an address, and no error holds a URL: whoever knows one may fetch
// what is there.
//
// # Links
//
// A link is a row of the Shelf and a token that names it, signed with a key that comes from the store's: every process
// with the same store makes and serves the same links, and a forged one costs no question to the database. It ends at a
// time, or when one of the events it was made for is retracted. What is behind it is fetched when it is asked for.
package media
