package faults

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// asRoot runs a command as root: directly, or by sudo without a password, as setup.sh does.
func asRoot(command ...string) (output []byte, err error) {
	if os.Getuid() != 0 {
		command = append([]string{"sudo", "-n"}, command...)
	}
	return exec.Command(command[0], command[1:]...).CombinedOutput()
}

// fill writes a file until its filesystem is full, and returns how much that was.
func fill(file string) (size int64, err error) {
	f, err := os.Create(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for block := make([]byte, 1<<16); len(block) > 0; {
		n, err := f.Write(block)
		size += int64(n)
		switch {
		case errors.Is(err, syscall.ENOSPC):
			block = block[:len(block)/2] // to the last byte
		case err != nil && !errors.Is(err, io.ErrShortWrite):
			return size, err
		}
	}
	return size, nil
}
