// Package desktop lets a real desktop client talk through Lockbridge: `make test-desktop`.
package desktop
