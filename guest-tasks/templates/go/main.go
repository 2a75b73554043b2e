// Counts the words of a text: how many, how many different ones, and the five most frequent.
//
// The task's input is standard input, its output standard output, its log standard error.
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

type Word struct {
	Word  string `json:"word"`
	Count int    `json:"count"`
}

type Report struct {
	Words  int    `json:"words"`
	Unique int    `json:"unique"`
	Top    []Word `json:"top"`
}

func count(input io.Reader) (Report, error) {
	data, err := io.ReadAll(input)
	if err != nil {
		return Report{}, err
	}
	if !utf8.Valid(data) {
		return Report{}, fmt.Errorf("the input is not UTF-8 text")
	}
	counts := map[string]int{}
	words := strings.FieldsFunc(strings.ToLower(string(data)), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r)
	})
	for _, word := range words {
		counts[word]++
	}
	top := make([]Word, 0, len(counts))
	for word, n := range counts {
		top = append(top, Word{word, n})
	}
	slices.SortFunc(top, func(a, b Word) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Word, b.Word))
	})
	return Report{len(words), len(counts), top[:min(5, len(top))]}, nil
}

func main() {
	report, err := count(os.Stdin)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(report)
	}
	if err != nil {
		// The log says why, and the exit code that the task failed.
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
