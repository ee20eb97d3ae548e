package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is the release that this source leads to.
const version = "0.1.0-dev"

type versionCommand struct{}

func (versionCommand) Run(o output) error {
	fmt.Fprintln(o.out, "lockbridge", fullVersion())
	return nil
}

// fullVersion adds the commit, where the build knows it, and the Go release and platform.
func fullVersion() string {
	v := version
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v += "+" + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return fmt.Sprintf("%s (%s, %s/%s)", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
