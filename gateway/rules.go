package gateway

// SetBridges replaces Config.Bridges while the gateway runs. Events that are accepted from then on go by the new
// bridges; rooms that are in both stay as they are. What still waits for a room that is in none any more is given up,
// and its sender told. It returns before the sides have entered and left their rooms.
func (g *Gateway) SetBridges(bridges []Bridge) {
	g.mu.Lock()
	defer g.mu.Unlock()
	// The router first: it knows a room before its side speaks of it.
	g.router.Store(newRouter(bridges, g.router.Load().direct, g.caps))
	for network, side := range g.sides {
		side.SetRooms(RoomsOf(network, bridges))
	}
	for c := range g.couriers {
		select {
		case c.rules <- struct{}{}:
		default:
		}
	}
}

// attach tells a courier of new rules until the function that it returns is called.
func (g *Gateway) attach(c *courier) (detach func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.couriers[c] = true
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.couriers, c)
	}
}
