package media

import (
	"io"
	"time"
)

// SetTimes shortens what a transfer may take.
func (m *Media) SetTimes(idle, whole time.Duration) { m.idle, m.whole = idle, whole }

// Sweep does what Run does now and then.
func (m *Media) Sweep() { m.spool.sweep() }

// Dir is the spool's folder.
func (m *Media) Dir() string { return m.spool.dir }

// OnDisk returns all bytes that lie in the spool, and how many it believes there are.
func (m *Media) OnDisk() (bytes []byte, used int64, err error) {
	m.spool.mu.Lock()
	defer m.spool.mu.Unlock()
	for _, e := range m.spool.entries {
		b, err := io.ReadAll(io.NewSectionReader(e.file, 0, e.size))
		if err != nil {
			return nil, 0, err
		}
		bytes = append(bytes, b...)
	}
	return bytes, m.spool.used, nil
}
