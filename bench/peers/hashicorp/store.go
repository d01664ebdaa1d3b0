package main

import (
	"path/filepath"
	"slices"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"
)

var storeNames = []string{"wal", "bolt", "memory"}

// store holds a server's log and its term and vote.
type store interface {
	raft.LogStore
	raft.StableStore
	Close() error
}

func isStore(name string) bool {
	return slices.Contains(storeNames, name)
}

func openStore(name, folder string) (store, error) {
	switch name {
	case "wal":
		return wal.Open(folder)
	case "bolt":
		// Flushes at every write: NoSync stays false.
		return raftboltdb.New(raftboltdb.Options{Path: filepath.Join(folder, "raft.db")})
	default:
		return memoryStore{raft.NewInmemStore()}, nil
	}
}

type memoryStore struct{ *raft.InmemStore }

func (memoryStore) Close() error { return nil }
