package main

import (
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// timerSlack is by how much the kernel may let a sleep of ours last longer, so that it need not wake us as often.
const timerSlack = 2 * time.Millisecond

// calmMonitor runs the program once more, in the same process, with sleeps that may last longer.
//
// Go's monitor thread wakes at every first system call after a pause and then every 20 µs as long as anything runs, to
// find system calls and goroutines that take long. A relay works for a fraction of a millisecond at a time, with pauses
// for the network and the disk, so that the monitor took a fifth of its CPU and half of its context switches. A thread
// inherits its slack when it is started, and the monitor has been started by now: hence the second beginning
// (PR_SET_TIMERSLACK survives execve; see prctl(2)). What fails leaves things as they are.
func calmMonitor() {
	runtime.LockOSThread() // the slack is a thread's own
	defer runtime.UnlockOSThread()
	if slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err != nil || slack >= int(timerSlack) {
		return // the second beginning, or a service manager has seen to it
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack), 0, 0, 0); err != nil {
		return
	}
	if slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err != nil || slack < int(timerSlack) {
		return // real-time threads have none
	}
	if self, err := os.Executable(); err == nil {
		_ = unix.Exec(self, os.Args, os.Environ())
	}
}
