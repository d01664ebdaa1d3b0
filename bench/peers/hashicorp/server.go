package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	// The first argument of a process that is a server: started by this program only.
	serverArgument = "server-process"
	// As in hashicorp/raft's own examples.
	connectionPool   = 3
	transportTimeout = 10 * time.Second
	shutdownTimeout  = 8 * time.Second
	tunedPerAppend   = 1024
)

// server is one hashicorp/raft server, driven by the parent over standard input and output.
type server struct {
	raft      *raft.Raft
	transport *raft.NetworkTransport
	store     store
	latencies []int64
	// The first shutdown's; a later one would not wait for anything.
	shutdown raft.Future
}

// serve answers the parent until standard input ends, which it does however the parent ends.
func serve(arguments []string) {
	// A Ctrl-C reaches the whole process group; the parent decides when its servers end.
	// SIGPIPE: an answer to a parent that is gone must not cut the clean-up short.
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	folder := arguments[1]
	answers := json.NewEncoder(os.Stdout)
	running, err := openServer(arguments)
	if err != nil {
		_ = answers.Encode(reply{Error: err.Error()})
		removeFolder(folder)
		return
	}
	_ = answers.Encode(reply{Address: string(running.transport.LocalAddr())})

	// Read apart from the answering, so that the end of the input is seen in the middle of a load too.
	questions := make(chan request)
	go func() {
		defer close(questions)
		decoder := json.NewDecoder(os.Stdin)
		for {
			var question request
			if err := decoder.Decode(&question); err != nil {
				time.AfterFunc(shutdownTimeout, func() { abandon(folder) })
				// A load in progress fails with the shutdown instead of running on for nobody.
				running.shutdown = running.raft.Shutdown()
				return
			}
			questions <- question
		}
	}()
	for question := range questions {
		_ = answers.Encode(running.answer(question))
	}
	err = running.close()
	removeFolder(folder)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func openServer(arguments []string) (*server, error) {
	id, folder, storeName := arguments[0], arguments[1], arguments[2]
	tuned, err := strconv.ParseBool(arguments[3])
	if err != nil {
		return nil, err
	}
	logCache, err := strconv.Atoi(arguments[4])
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	opened, err := openStore(storeName, folder)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", storeName, err)
	}
	var log raft.LogStore = opened
	if logCache > 0 {
		if log, err = raft.NewLogCache(logCache, opened); err != nil {
			return nil, err
		}
	}
	transport, err := raft.NewTCPTransport("127.0.0.1:0", nil, connectionPool, transportTimeout, io.Discard)
	if err != nil {
		return nil, fmt.Errorf("listening on loopback: %w", err)
	}
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(id)
	config.Logger = hclog.NewNullLogger()
	// No snapshot falls into a measured time.
	config.SnapshotThreshold = math.MaxUint64
	config.SnapshotInterval = 24 * time.Hour
	if tuned {
		config.MaxAppendEntries = tunedPerAppend
		config.BatchApplyCh = true
	}
	started, err := raft.NewRaft(config, &counter{}, log, opened, raft.NewDiscardSnapshotStore(), transport)
	if err != nil {
		return nil, err
	}
	return &server{raft: started, transport: transport, store: opened}, nil
}

func (running *server) answer(question request) reply {
	switch question.Type {
	case "bootstrap":
		var configuration raft.Configuration
		for _, one := range question.Members {
			configuration.Servers = append(configuration.Servers, raft.Server{ID: raft.ServerID(one.ID), Address: raft.ServerAddress(one.Address)})
		}
		if err := running.raft.BootstrapCluster(configuration).Error(); err != nil {
			return reply{Error: err.Error()}
		}
		return reply{}
	case "state":
		return reply{Leader: running.raft.State() == raft.Leader}
	case "usage":
		var usage syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
			return reply{Error: err.Error()}
		}
		return reply{CPU: (usage.Utime.Nano() + usage.Stime.Nano()) / 1000}
	case "load":
		latencies, took, err := load(running.raft, question)
		if err != nil {
			return reply{Error: err.Error()}
		}
		running.latencies = latencies
		return reply{Entries: len(latencies), Took: took}
	case "latencies":
		return percentiles(running.latencies)
	}
	return reply{Error: fmt.Sprintf("unknown question %q", question.Type)}
}

func (running *server) close() error {
	if err := running.shutdown.Error(); err != nil {
		return fmt.Errorf("shutdown: %w", err)
	}
	if err := running.transport.Close(); err != nil {
		return fmt.Errorf("transport: %w", err)
	}
	if err := running.store.Close(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// removeFolder removes the server's folder, and the run's folder when this was the last one in it: nothing stays where the parent
// was killed.
func removeFolder(folder string) {
	_ = os.RemoveAll(folder)
	_ = os.Remove(filepath.Dir(folder))
}

func abandon(folder string) {
	removeFolder(folder)
	fmt.Fprintf(os.Stderr, "no clean shutdown within %s\n", shutdownTimeout)
	os.Exit(1)
}

// counter is a state machine that counts the commands applied.
type counter struct{ count uint64 }

func (machine *counter) Apply(*raft.Log) any {
	machine.count++
	return machine.count
}

func (machine *counter) Snapshot() (raft.FSMSnapshot, error) {
	return nil, raft.ErrNothingNewToSnapshot
}

func (machine *counter) Restore(snapshot io.ReadCloser) error {
	return snapshot.Close()
}
