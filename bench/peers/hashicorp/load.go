package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// load runs a closed loop: each caller waits for its answer before it sends the next command. Gives the time each command took, in
// nanoseconds, and the time from the first command to the last answer. A command that fails fails the load: a figure over a change
// of leader would be one about something else.
func load(target *raft.Raft, question request) ([]int64, time.Duration, error) {
	command := make([]byte, question.Bytes)
	perCaller := make([][]int64, question.InFlight)
	failures := make(chan error, question.InFlight)
	start := time.Now()
	var callers sync.WaitGroup
	for caller := range question.InFlight {
		callers.Go(func() {
			var latencies []int64
			for sent := time.Now(); sent.Sub(start) < question.Length; {
				if err := target.Apply(command, 0).Error(); err != nil {
					failures <- err
					break
				}
				answered := time.Now()
				latencies = append(latencies, answered.Sub(sent).Nanoseconds())
				sent = answered
			}
			perCaller[caller] = latencies
		})
	}
	callers.Wait()
	took := time.Since(start)
	select {
	case err := <-failures:
		return nil, took, fmt.Errorf("a command failed under load: %w", err)
	default:
	}
	all := slices.Concat(perCaller...)
	if len(all) == 0 {
		return nil, took, errors.New("no command was answered")
	}
	return all, took, nil
}

// percentiles sorts the latencies and gives three of them in milliseconds.
func percentiles(latencies []int64) reply {
	if len(latencies) == 0 {
		return reply{Error: "latencies before a load"}
	}
	slices.Sort(latencies)
	at := func(share float64) float64 {
		return float64(latencies[min(int(float64(len(latencies))*share), len(latencies)-1)]) / 1e6
	}
	return reply{P50: at(0.5), P99: at(0.99), P999: at(0.999)}
}
