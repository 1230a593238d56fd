package replication

import "strings"

// Targets gives the target of each source (truenas-api.md 3.8): target itself for a single one; below it, for several, what follows
// in the source's path behind the leading path that all of them share.
func Targets(sources []string, target string) []string {
	shared := 0
	if len(sources) > 0 {
		shared = len(strings.Split(sources[0], "/"))
		for _, s := range sources[1:] {
			shared = min(shared, common(sources[0], s))
		}
	}
	targets := make([]string, len(sources))
	for i, s := range sources {
		targets[i] = strings.Join(append([]string{target}, strings.Split(s, "/")[shared:]...), "/")
	}
	return targets
}

// common counts the leading parts of their paths that two datasets share.
func common(a, b string) (n int) {
	left, right := strings.Split(a, "/"), strings.Split(b, "/")
	for n < len(left) && n < len(right) && left[n] == right[n] {
		n++
	}
	return n
}
