package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"

	"lockbridge/gateway"
)

// reload rereads the bridges of a configuration whose process runs.
type reload struct {
	command runCommand
	path    string // absolute
	running *config
	log     *slog.Logger
}

// run rereads the bridges at each signal until ctx ends.
func (r *reload) run(ctx context.Context, signals <-chan os.Signal, set func([]gateway.Bridge)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
			r.reread(set)
		}
	}
}

// reread takes the [[bridge]] blocks of the file as it is now, all of them or, where anything is wrong with the file,
// none. What else has changed is named.
func (r *reload) reread(set func([]gateway.Bridge)) {
	cfg, f, err := load(r.path, kinds())
	if err != nil {
		r.log.Error("the configuration could not be reread; nothing has changed", "err", err)
		return
	}
	r.command.apply(cfg, f)
	r.fits(cfg, f)
	wrong := 0
	for _, one := range f.sorted() {
		if one.warning {
			continue
		}
		wrong++
		r.log.Error("the configuration is wrong", "file", f.file, "line", one.line, "problem", one.problem().Error())
	}
	if wrong > 0 {
		r.log.Error("the configuration was not taken; everything goes on as it was", "errors", wrong)
		return
	}
	if changed := r.running.changes(cfg); len(changed) > 0 {
		r.log.Warn("something else than bridges has changed, which needs a restart", "where", changed)
	}
	before := r.running.bridges
	r.running.bridges = cfg.bridges
	set(cfg.bridges)
	added, removed, changed := compareBridges(before, cfg.bridges)
	r.log.Info("the bridges were reread", "bridges", len(cfg.bridges), "added", added, "removed", removed, "changed", changed)
}

// fits finds rooms of networks that are not those that run.
func (r *reload) fits(cfg *config, f *findings) {
	running, now := r.running.networkKinds(), cfg.networkKinds()
	for i, b := range cfg.bridges {
		for name := range b.Rooms {
			if kind, known := running[name]; !known || kind != now[name] {
				f.add(finding{key: fmt.Sprintf("bridge.%d.rooms.%s", i, name), text: fmt.Sprintf("the network %q is new", name), remedy: "restart lockbridge to have bridges with it"})
			}
		}
	}
}

// changes names the parts of the configuration besides the bridges that are not as they were.
func (c *config) changes(now *config) []string {
	var all []string
	note := func(what string, was, is any) {
		if !reflect.DeepEqual(was, is) {
			all = append(all, "["+what+"]")
		}
	}
	note("store", c.Store, now.Store)
	note("http", c.HTTP, now.HTTP)
	note("log", c.Log, now.Log)
	note("journal", c.Journal, now.Journal)
	note("media", c.Media, now.Media)
	note("direct", c.Direct, now.Direct)
	names := append(c.networkNames(), now.networkNames()...)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		note("network."+name, c.Networks[name], now.Networks[name])
	}
	return all
}

// compareBridges names what came, went and is different, by the bridges' names.
func compareBridges(was, is []gateway.Bridge) (added, removed, changed []string) {
	before := map[string]gateway.Bridge{}
	for _, b := range was {
		before[b.Name] = b
	}
	for _, b := range is {
		old, known := before[b.Name]
		delete(before, b.Name)
		switch {
		case !known:
			added = append(added, b.Name)
		case !reflect.DeepEqual(old, b):
			changed = append(changed, b.Name)
		}
	}
	for _, b := range was {
		if _, gone := before[b.Name]; gone {
			removed = append(removed, b.Name)
		}
	}
	return added, removed, changed
}
