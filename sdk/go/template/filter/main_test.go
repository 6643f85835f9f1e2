package main

import "testing"

func TestHasWord(t *testing.T) {
	if !hasWord("Red Shoe", "shoe") || hasWord("Chair", "shoe") {
		t.Fatal("the word is found where it is not, or is not where it is")
	}
}
