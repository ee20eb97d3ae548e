package omemo

import "context"

// Store is where the state lives. The transaction travels in ctx; a Manager
// calls it only inside one. Values are plain bytes: the store seals them at
// rest. Returned values belong to the store and are not changed.
type Store interface {
	// GetMany returns the values of keys; missing keys are absent from the map.
	GetMany(ctx context.Context, keys []string) (map[string][]byte, error)
	// List returns the values of all keys that begin with prefix.
	List(ctx context.Context, prefix string) (map[string][]byte, error)
	// PutMany writes values; a nil value deletes its key.
	PutMany(ctx context.Context, values map[string][]byte) error
}
