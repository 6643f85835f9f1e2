package tidemill

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Go's collector must not start by itself in a component: the host's arguments are written into memory that nothing of ours
// holds yet, and a collector that may start anywhere was seen to run a plugin out of memory within some thousand
// calls, since its workers get no turn between them. So it is off, and runs to its end at the start of a call, when the
// arguments are held as slices. What one call throws away is collected at the start of the next.
const collectAt = 16 << 20

var heap = []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}

// enter begins each call of the host, and gives what ends it: a panic is logged with its place before it traps, since nothing
// else of it reaches the operator.
func enter() func() {
	if runtime.GOOS == "wasip1" {
		if metrics.Read(heap); heap[0].Value.Uint64() > collectAt {
			runtime.GC()
		}
	}
	return func() {
		if err := recover(); err != nil {
			Log(Error, fmt.Sprintf("panic: %v\n%s", err, debug.Stack()))
			panic(err)
		}
	}
}

func init() {
	if runtime.GOOS == "wasip1" {
		debug.SetGCPercent(-1)
	}
}
