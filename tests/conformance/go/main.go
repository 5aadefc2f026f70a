// Reads a bundle with the reference code of the Go project: golang.org/x/mod/sumdb/note and tlog.
//
// usage: check BUNDLE VERIFIER_KEY PROOFS, where PROOFS is the JSON below.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type proofs struct {
	Inclusion []struct {
		Index int64
		Path  []tlog.Hash
	}
	Consistency []struct {
		First int64
		Root  tlog.Hash
		Path  []tlog.Hash
	}
}

// folder reads tiles of height 8; tlog-tiles leaves the height out of their paths.
type folder string

func (f folder) Height() int { return 8 }

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range tiles {
		octets, err := os.ReadFile(filepath.Join(string(f), strings.Replace(tile.Path(), "tile/8/", "tile/", 1)))
		if err != nil {
			return nil, err
		}
		found = append(found, octets)
	}
	return found, nil
}

func must(err error) {
	if err != nil {
		fmt.Println("WRONG:", err)
		os.Exit(1)
	}
}

func checkpoint(dir, key string) tlog.Tree {
	octets, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	must(err)
	verifier, err := note.NewVerifier(key)
	must(err)
	opened, err := note.Open(octets, note.VerifierList(verifier))
	must(err)
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	root, err := base64.StdEncoding.DecodeString(lines[2])
	must(err)
	tree := tlog.Tree{N: size}
	if copy(tree.Hash[:], root) != tlog.HashSize || lines[0] != verifier.Name() || len(lines) != 4 {
		must(fmt.Errorf("not a checkpoint"))
	}
	return tree
}

func leaves(dir string, size int64) (found [][]byte) {
	for n := int64(0); n*256 < size; n++ {
		name := fmt.Sprintf("tile/entries/%03d", n)
		if size-n*256 < 256 {
			name += fmt.Sprintf(".p/%d", size-n*256)
		}
		octets, err := os.ReadFile(filepath.Join(dir, name))
		must(err)
		for len(octets) > 0 {
			end := 2 + int(binary.BigEndian.Uint16(octets))
			found = append(found, octets[2:end])
			octets = octets[end:]
		}
	}
	return found
}

func main() {
	dir, tree := os.Args[1], checkpoint(os.Args[1], os.Args[2])
	reader := tlog.TileHashReader(tree, folder(dir))
	entries := leaves(dir, tree.N)
	if int64(len(entries)) != tree.N {
		must(fmt.Errorf("%d entries, not %d", len(entries), tree.N))
	}
	for n, leaf := range entries {
		path, err := tlog.ProveRecord(tree.N, int64(n), reader)
		must(err)
		must(tlog.CheckRecord(path, tree.N, tree.Hash, int64(n), tlog.RecordHash(leaf)))
	}
	octets, err := os.ReadFile(os.Args[3])
	must(err)
	var given proofs
	must(json.Unmarshal(octets, &given))
	for _, each := range given.Inclusion {
		must(tlog.CheckRecord(each.Path, tree.N, tree.Hash, each.Index, tlog.RecordHash(entries[each.Index])))
	}
	for _, each := range given.Consistency {
		root, err := tlog.TreeHash(each.First, reader)
		must(err)
		if root != each.Root {
			must(fmt.Errorf("another root at size %d", each.First))
		}
		must(tlog.CheckTree(each.Path, tree.N, tree.Hash, each.First, each.Root))
	}
	fmt.Println(len(entries), len(given.Inclusion), len(given.Consistency))
}
