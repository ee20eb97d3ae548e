package main

import (
	"fmt"
	"io"
	"strings"

	"rsc.io/qr"
)

// quiet is the empty border around a QR code, in modules (ISO/IEC 18004 asks for 4).
const quiet = 4

// printQR draws a QR code with half blocks, two rows of modules a line. colours sets them black on white, which scanners
// read whatever the terminal's own colours are; without, dark modules are drawn and light ones left out.
func printQR(w io.Writer, text string, colours bool) error {
	code, err := qr.Encode(text, qr.L) // a screen has no damage to correct, and the smallest code fits most terminals
	if err != nil {
		return fmt.Errorf("draw a QR code: %w", err)
	}
	before, after := "", ""
	if colours {
		before, after = "\x1b[30;107m", "\x1b[0m"
	}
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		b.WriteString(before)
		for x := -quiet; x < code.Size+quiet; x++ {
			switch upper, lower := code.Black(x, y), code.Black(x, y+1); {
			case upper && lower:
				b.WriteString("█")
			case upper:
				b.WriteString("▀")
			case lower:
				b.WriteString("▄")
			default:
				b.WriteString(" ")
			}
		}
		b.WriteString(after + "\n")
	}
	_, err = io.WriteString(w, b.String())
	return err
}
