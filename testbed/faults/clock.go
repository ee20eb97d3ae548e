package faults

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// clockVariable names the file that a program that buildJumpy built looks at: eight bytes, seconds to be added to the clock.
const clockVariable = "FAULTS_CLOCK"

// jumps is put into package time. The file is mapped, since Now is called where no system call is possible, and read at each call: a
// jump must be seen at once and by everything. The monotonic part stays right, as it does when a machine's clock is set.
const jumps = `
var jump = mapClock()

func mapClock() *int64 {
	name, _ := syscall.Getenv("` + clockVariable + `")
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return new(int64)
	}
	mapped, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	return (*int64)(unsafe.Pointer(&mapped[0]))
}
`

// buildJumpy builds the program with a clock that can be set: the standard library's time.Now is replaced while building (go help build,
// -overlay). So all of the program sees the jump, its libraries too, and its source has nothing in it for the sake of a test.
func buildJumpy(ctx context.Context, root, dir string) (program string, err error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(out)), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	const now = "\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(source), now) != 1 {
		return "", fmt.Errorf("%s is not as this was written for: there is not one %q", original, now)
	}
	changed := strings.Replace(string(source), now, now+"\tsec += *jump\n", 1) + jumps
	changed = strings.Replace(changed, "import (\n", "import (\n\t\"syscall\"\n\t\"unsafe\"\n", 1)
	replacement, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {original: replacement}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(replacement, []byte(changed), 0o600); err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		return "", err
	}
	program = filepath.Join(dir, "lockbridge-jumpy")
	build := exec.CommandContext(ctx, "go", "build", "-tags", "goolm", "-overlay", overlay, "-o", program, "./cmd/lockbridge")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building with a clock that jumps: %w\n%s", err, out)
	}
	return program, nil
}

// setClock has the programs that look at a file see the time shifted.
func setClock(file string, by time.Duration) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(int64(by/time.Second))), 0)
	return err
}
