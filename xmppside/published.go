package xmppside

import (
	"slices"
	"time"

	"lockbridge/omemo"
)

// deviceList is what State keeps of somebody's devices.
type deviceList struct {
	published           // in the legacy version
	Two       published `json:"two,omitzero"`
}

// published is what somebody's devices are in one version.
type published struct {
	IDs []uint32 `json:"ids"`
	// Heard are devices that wrote to us without standing in a list that we could read.
	Heard     []uint32  `json:"heard,omitempty"`
	Read      time.Time `json:"read"` // zero: to be read again
	Forbidden bool      `json:"forbidden,omitempty"`
	// Subscribed: the person's server was asked to tell us of changes.
	Subscribed bool `json:"subscribed,omitempty"`
	// Told: it does so. ejabberd takes subscriptions of strangers and sends them nothing.
	Told bool `json:"told,omitempty"`
}

// age is how old the list may be when something is sealed.
func (p *published) age() time.Duration {
	if p.Told {
		return listAge
	}
	return untoldAge
}

// of is the list of a version.
func (d *deviceList) of(v omemo.Version) *published {
	if v == omemo.Two {
		return &d.Two
	}
	return &d.published
}

// usable are the devices to seal for in each version: a device that has several gets the first of versions, and never
// two.
func (d *deviceList) usable(versions []omemo.Version) map[omemo.Version][]uint32 {
	out := map[omemo.Version][]uint32{}
	taken := map[uint32]bool{}
	for _, v := range versions {
		for _, id := range d.of(v).usable() {
			if !taken[id] {
				taken[id] = true
				out[v] = append(out[v], id)
			}
		}
	}
	return out
}

// usable: only a list that may not be read is stretched by those that were heard: the trap of a client that publishes
// its list for its contacts only.
func (p *published) usable() []uint32 {
	if !p.Forbidden {
		return p.IDs
	}
	out := slices.Clone(p.IDs)
	for _, id := range p.Heard {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// hear notes that a device wrote to us, and asks for the list to be read again if it is not in it.
func (p *published) hear(id uint32) (changed bool) {
	if slices.Contains(p.IDs, id) || slices.Contains(p.Heard, id) {
		return false
	}
	p.Heard = append(p.Heard, id)
	if len(p.Heard) > maxDevices {
		p.Heard = p.Heard[1:]
	}
	p.Read = time.Time{}
	return true
}

// take notes what the list's owner published.
func (p *published) take(ids []uint32, now time.Time) {
	p.IDs, p.Heard, p.Read, p.Forbidden = ids[:min(len(ids), maxDevices)], nil, now, false
}
