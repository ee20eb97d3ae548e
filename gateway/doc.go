// Package gateway joins rooms of several chat networks through one durable journal.
package gateway
