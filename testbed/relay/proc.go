package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage is what a process has used up.
type usage struct {
	cpu   time.Duration
	store time.Duration // what the database server's processes have used up since they began
	rss   int64         // bytes now
	waits int64         // how often its threads had nothing to do and went to sleep
}

// cpuOf sums the run times of a process's threads, which the kernel counts in nanoseconds. What a thread that has ended
// used is missing; neither bridge ends threads in the course of a run.
func cpuOf(pid int) time.Duration {
	var sum time.Duration
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue
		}
		first, _, _ := bytes.Cut(text, []byte(" "))
		ns, _ := strconv.ParseInt(string(first), 10, 64)
		sum += time.Duration(ns)
	}
	return sum
}

func rssOf(pid int) int64 {
	return statusOf(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:") << 10
}

// waitsOf sums the voluntary context switches of a process's threads.
func waitsOf(pid int) int64 {
	var sum int64
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, task := range tasks {
		sum += statusOf(task, "voluntary_ctxt_switches:")
	}
	return sum
}

// statusOf reads a number from a status file; 0: it is not there.
func statusOf(path, name string) int64 {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n
		}
	}
	return 0
}

// childrenOf lists the processes that a process has started itself.
func childrenOf(pid int) []int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	var out []int
	for _, word := range strings.Fields(string(text)) {
		child, _ := strconv.Atoi(word)
		out = append(out, child)
	}
	return out
}
