package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"
)

const (
	stopTimeout  = 10 * time.Second
	maxErrorText = 4096
)

// What the parent asks a server, one JSON object per line on the server's standard input; each is answered by one reply.
type request struct {
	Type     string        `json:"type"`
	Members  []member      `json:"members,omitempty"`
	InFlight int           `json:"inFlight,omitempty"`
	Bytes    int           `json:"bytes,omitempty"`
	Length   time.Duration `json:"length,omitempty"`
}

type reply struct {
	Error   string        `json:"error,omitempty"`
	Address string        `json:"address,omitempty"`
	Leader  bool          `json:"leader,omitempty"`
	CPU     int64         `json:"cpu,omitempty"`
	Entries int           `json:"entries,omitempty"`
	Took    time.Duration `json:"took,omitempty"`
	P50     float64       `json:"p50,omitempty"`
	P99     float64       `json:"p99,omitempty"`
	P999    float64       `json:"p999,omitempty"`
}

type member struct {
	ID      string `json:"id"`
	Address string `json:"address"`
}

// process is the parent's end of one server process.
type process struct {
	id      int
	command *exec.Cmd
	input   io.WriteCloser
	replies chan reply
	ended   chan struct{}
	// Written by the command's own copying until `ended` is closed.
	errors *boundedText
}

func startProcess(id int, folder string, chosen options) (*process, error) {
	name, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.Command(name, serverArgument, strconv.Itoa(id), folder, chosen.store,
		strconv.FormatBool(chosen.tuned), strconv.Itoa(chosen.logCache))
	input, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	server := &process{id: id, command: command, input: input, replies: make(chan reply, 1), ended: make(chan struct{}), errors: &boundedText{}}
	command.Stderr = server.errors
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("server %d: %w", id, err)
	}
	go func() {
		decoder := json.NewDecoder(output)
		for {
			var answer reply
			if decoder.Decode(&answer) != nil {
				break
			}
			server.replies <- answer
		}
		_ = command.Wait()
		close(server.ended)
	}()
	return server, nil
}

func (server *process) ask(ctx context.Context, question request, timeout time.Duration) (reply, error) {
	if err := json.NewEncoder(server.input).Encode(question); err != nil {
		return reply{}, fmt.Errorf("server %d does not listen to %q: %w", server.id, question.Type, err)
	}
	answer, err := server.receive(ctx, timeout)
	if err != nil {
		return answer, fmt.Errorf("%w (asked for %q)", err, question.Type)
	}
	return answer, nil
}

func (server *process) receive(ctx context.Context, timeout time.Duration) (reply, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case answer := <-server.replies:
		return server.checked(answer)
	case <-server.ended:
		// Its last answer says more than its end.
		select {
		case answer := <-server.replies:
			return server.checked(answer)
		default:
		}
		return reply{}, fmt.Errorf("server %d ended early (%s): %s", server.id, server.command.ProcessState, server.errors.firstLine())
	case <-timer.C:
		return reply{}, fmt.Errorf("server %d did not answer within %s", server.id, timeout)
	case <-ctx.Done():
		return reply{}, errors.New("interrupted by a signal")
	}
}

func (server *process) checked(answer reply) (reply, error) {
	if answer.Error != "" {
		return answer, fmt.Errorf("server %d: %s", server.id, answer.Error)
	}
	return answer, nil
}

// stopAll closes every server's input, which tells it to end, and kills what has not ended in time.
func stopAll(servers []*process) error {
	var failed error
	for _, server := range servers {
		_ = server.input.Close()
	}
	deadline := time.NewTimer(stopTimeout)
	defer deadline.Stop()
	expired := false
	for _, server := range servers {
		for ended := false; !ended; {
			if expired {
				_ = server.command.Process.Kill()
				failed = fmt.Errorf("server %d did not end within %s and was killed", server.id, stopTimeout)
			}
			select {
			case <-server.ended:
				ended = true
			// A late answer nobody waits for any more.
			case <-server.replies:
			case <-deadline.C:
				expired = true
			}
		}
		if failed == nil && !server.command.ProcessState.Success() {
			failed = fmt.Errorf("server %d ended badly (%s): %s", server.id, server.command.ProcessState, server.errors.firstLine())
		}
	}
	return failed
}

// boundedText keeps the start of what is written to it.
type boundedText struct{ text []byte }

func (bounded *boundedText) Write(more []byte) (int, error) {
	bounded.text = append(bounded.text, more[:min(len(more), maxErrorText-len(bounded.text))]...)
	return len(more), nil
}

func (bounded *boundedText) firstLine() string {
	line, _, _ := bytes.Cut(bounded.text, []byte("\n"))
	return string(line)
}
