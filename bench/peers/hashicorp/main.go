// Command bench-hashicorp measures three hashicorp/raft servers on loopback, so that Balsa's own apply bench has a peer beside it.
//
// The program starts itself three times as a server process (server.go), asks the one that became leader to put a closed loop of
// load on itself (load.go), and prints what it saw as one JSON object on one line. Everything it starts ends with it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	serverCount  = 3
	maxInFlight  = 65536
	maxBytes     = 1 << 20
	maxSeconds   = 600
	startTimeout = 20 * time.Second
	askTimeout   = 10 * time.Second
	// What a load may take beyond its time: the commands in flight at its end still wait for their answers.
	loadGrace = 30 * time.Second
)

type options struct {
	store    string
	tuned    bool
	inFlight int
	bytes    int
	seconds  float64
	warmUp   float64
	logCache int
	dir      string
}

type result struct {
	Store       string  `json:"store"`
	Tuned       bool    `json:"tuned"`
	LogCache    int     `json:"logCache,omitempty"`
	InFlight    int     `json:"inFlight"`
	Bytes       int     `json:"bytes"`
	PerSecond   float64 `json:"perSecond"`
	P50         float64 `json:"p50"`
	P99         float64 `json:"p99"`
	P999        float64 `json:"p999"`
	CPUPerEntry float64 `json:"cpuPerEntry"`
	DrainMs     float64 `json:"drainMs"`
	Entries     int     `json:"entries"`
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == serverArgument {
		serve(os.Args[2:])
		return
	}
	if err := run(os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		line, _, _ := strings.Cut(err.Error(), "\n")
		fmt.Fprintln(os.Stderr, "bench-hashicorp: "+line)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	chosen, err := readOptions(arguments)
	if err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if err := os.MkdirAll(chosen.dir, 0o755); err != nil {
		return fmt.Errorf("--dir %s: %w", chosen.dir, err)
	}
	folder, err := os.MkdirTemp(chosen.dir, "hashicorp-")
	if err != nil {
		return fmt.Errorf("--dir %s: %w", chosen.dir, err)
	}
	measured, err := measure(ctx, chosen, folder)
	// The servers have ended by now, each took its own folder along.
	if removed := os.RemoveAll(folder); err == nil && removed != nil {
		err = fmt.Errorf("folder %s: %w", folder, removed)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(measured)
}

func readOptions(arguments []string) (options, error) {
	var chosen options
	flags := flag.NewFlagSet("bench-hashicorp", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&chosen.store, "store", "wal", "where the log lives: "+strings.Join(storeNames, ", "))
	flags.BoolVar(&chosen.tuned, "tuned", false, "MaxAppendEntries 1024 and BatchApplyCh instead of the defaults")
	flags.IntVar(&chosen.inFlight, "in-flight", 64, "callers, each waits for its answer before its next command")
	flags.IntVar(&chosen.bytes, "bytes", 256, "size of a command")
	flags.Float64Var(&chosen.seconds, "seconds", 5, "measured time")
	flags.Float64Var(&chosen.warmUp, "warm-up", 1, "seconds of load before the measured time")
	flags.IntVar(&chosen.logCache, "log-cache", 0, "entries in a raft.LogCache before the store, 0 for none")
	flags.StringVar(&chosen.dir, "dir", os.TempDir(), "the folder in which the servers' folders are made and removed")
	err := flags.Parse(arguments)
	if errors.Is(err, flag.ErrHelp) {
		flags.SetOutput(os.Stdout)
		flags.PrintDefaults()
		return chosen, err
	}
	if err != nil {
		return chosen, err
	}
	switch {
	case flags.NArg() > 0:
		return chosen, fmt.Errorf("unknown argument %q", flags.Arg(0))
	case !isStore(chosen.store):
		return chosen, fmt.Errorf("--store %q is none of %s", chosen.store, strings.Join(storeNames, ", "))
	case chosen.inFlight < 1 || chosen.inFlight > maxInFlight:
		return chosen, fmt.Errorf("--in-flight %d is not within 1 and %d", chosen.inFlight, maxInFlight)
	case chosen.bytes < 1 || chosen.bytes > maxBytes:
		return chosen, fmt.Errorf("--bytes %d is not within 1 and %d", chosen.bytes, maxBytes)
	// Written so that NaN is refused too.
	case !(chosen.seconds > 0 && chosen.seconds <= maxSeconds):
		return chosen, fmt.Errorf("--seconds %g is not above 0 and up to %d", chosen.seconds, maxSeconds)
	case !(chosen.warmUp >= 0 && chosen.warmUp <= maxSeconds):
		return chosen, fmt.Errorf("--warm-up %g is not within 0 and %d", chosen.warmUp, maxSeconds)
	case chosen.logCache < 0 || chosen.logCache > maxInFlight:
		return chosen, fmt.Errorf("--log-cache %d is not within 0 and %d", chosen.logCache, maxInFlight)
	}
	chosen.dir, err = filepath.Abs(chosen.dir)
	return chosen, err
}

func measure(ctx context.Context, chosen options, folder string) (measured result, err error) {
	var servers []*process
	defer func() {
		if stopped := stopAll(servers); err == nil {
			err = stopped
		}
	}()
	var members []member
	for id := range serverCount {
		server, err := startProcess(id, filepath.Join(folder, fmt.Sprint("server-", id)), chosen)
		if err != nil {
			return measured, err
		}
		servers = append(servers, server)
		ready, err := server.receive(ctx, startTimeout)
		if err != nil {
			return measured, err
		}
		members = append(members, member{ID: fmt.Sprint(id), Address: ready.Address})
	}
	for _, server := range servers {
		if _, err := server.ask(ctx, request{Type: "bootstrap", Members: members}, askTimeout); err != nil {
			return measured, err
		}
	}
	leader, err := findLeader(ctx, servers)
	if err != nil {
		return measured, err
	}
	load := func(seconds float64) (reply, error) {
		length := time.Duration(seconds * float64(time.Second))
		return leader.ask(ctx, request{Type: "load", InFlight: chosen.inFlight, Bytes: chosen.bytes, Length: length}, length+loadGrace)
	}
	if chosen.warmUp > 0 {
		if _, err := load(chosen.warmUp); err != nil {
			return measured, err
		}
	}
	before, err := cpuOf(ctx, servers)
	if err != nil {
		return measured, err
	}
	done, err := load(chosen.seconds)
	if err != nil {
		return measured, err
	}
	after, err := cpuOf(ctx, servers)
	if err != nil {
		return measured, err
	}
	// Asked for after the processor time was read, so that sorting the latencies is not charged to the entries.
	waits, err := leader.ask(ctx, request{Type: "latencies"}, loadGrace)
	if err != nil {
		return measured, err
	}
	return result{
		Store: chosen.store, Tuned: chosen.tuned, LogCache: chosen.logCache, InFlight: chosen.inFlight, Bytes: chosen.bytes,
		PerSecond: rounded(float64(done.Entries) / done.Took.Seconds()), P50: rounded(waits.P50), P99: rounded(waits.P99),
		P999: rounded(waits.P999), CPUPerEntry: rounded(float64(after-before) / float64(done.Entries)),
		// From the end of the time, after which no command is sent, to the last answer.
		DrainMs: rounded(max(0, done.Took.Seconds()-chosen.seconds) * 1000), Entries: done.Entries,
	}, nil
}

func findLeader(ctx context.Context, servers []*process) (*process, error) {
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for _, server := range servers {
			state, err := server.ask(ctx, request{Type: "state"}, askTimeout)
			if err != nil {
				return nil, err
			}
			if state.Leader {
				return server, nil
			}
		}
	}
	return nil, fmt.Errorf("no server became leader within %s", startTimeout)
}

// cpuOf is the user and system time of all servers so far, in microseconds.
func cpuOf(ctx context.Context, servers []*process) (int64, error) {
	var total int64
	for _, server := range servers {
		usage, err := server.ask(ctx, request{Type: "usage"}, askTimeout)
		if err != nil {
			return 0, err
		}
		total += usage.CPU
	}
	return total, nil
}

func rounded(value float64) float64 {
	return float64(int64(value*1000+0.5)) / 1000
}
