// Package e2e holds what people do with Lockbridge, done with the real program, real servers and real clients: `make test-e2e`, or
// go test -tags 'goolm e2e' ./testbed/e2e. Each test is named after what somebody does, has rooms and accounts of its own, and runs on
// SQLite and on Postgres; LOCKBRIDGE_E2E_STORE=sqlite or postgres picks one.
package e2e
