package main

import "testing"

func TestSlug(t *testing.T) {
	if got := slug(" Red Shoe, 42! ", "-"); got != "red-shoe-42" {
		t.Fatal(got)
	}
}
