// What an access log says: the busiest clients, the kinds of answers, and how long they took. ../README.md has the rules.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
)

type client struct {
	Client   string `json:"client"`
	Requests int64  `json:"requests"`
	Bytes    int64  `json:"bytes"`
}

type status struct {
	Class1 int64 `json:"1xx"`
	Class2 int64 `json:"2xx"`
	Class3 int64 `json:"3xx"`
	Class4 int64 `json:"4xx"`
	Class5 int64 `json:"5xx"`
}

type report struct {
	Lines     int64    `json:"lines"`
	Malformed int64    `json:"malformed"`
	Clients   []client `json:"clients"`
	Status    status   `json:"status"`
	P95Millis *int64   `json:"p95_ms"`
}

var linePattern = regexp.MustCompile(
	`^([0-9A-Fa-f:.]{1,45}) - - \[[^\]"]+\] "[A-Z]{1,16} [^ "]+ HTTP/[0-9.]{1,8}" ([1-5])[0-9]{2} ([0-9]{1,10}|-) ([0-9]{1,9})$`)

func summarize(log []byte) report {
	result := report{Clients: []client{}}
	clients := map[string]*client{}
	var durations []int64
	for line := range bytes.SplitSeq(log, []byte("\n")) {
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			continue
		}
		result.Lines++
		match := linePattern.FindSubmatch(line)
		if match == nil {
			result.Malformed++
			continue
		}
		entry := clients[string(match[1])]
		if entry == nil {
			entry = &client{Client: string(match[1])}
			clients[entry.Client] = entry
		}
		entry.Requests++
		entry.Bytes += number(match[3])
		s := &result.Status
		*[]*int64{&s.Class1, &s.Class2, &s.Class3, &s.Class4, &s.Class5}[match[2][0]-'1']++
		durations = append(durations, number(match[4]))
	}
	for _, entry := range clients {
		result.Clients = append(result.Clients, *entry)
	}
	slices.SortFunc(result.Clients, func(a, b client) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Client, b.Client))
	})
	result.Clients = result.Clients[:min(10, len(result.Clients))]
	if n := len(durations); n > 0 {
		slices.Sort(durations)
		result.P95Millis = &durations[(95*n+99)/100-1]
	}
	return result
}

// number reads digits, ten at most; "-" is 0.
func number(digits []byte) int64 {
	n, _ := strconv.ParseInt(string(digits), 10, 64)
	return n
}

func main() {
	log, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(summarize(log))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
