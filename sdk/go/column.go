package tidemill

import (
	"unsafe"

	"github.com/tidemill/tidemill/sdk/go/internal/bindings/tidemill_plugin_types"
)

// Batch is some rows, by the columns that the plan requires.
type Batch struct {
	rows int
	// Those of a list's elements stand behind the list's own.
	columns []buffers
}

// Rows says how many rows there are.
func (b *Batch) Rows() int { return b.rows }

// buffers are one column's.
type buffers struct {
	validity bits
	offsets  []int32
	values   []byte
}

// bits is a bitmap, least significant first; nil has all bits set.
type bits []byte

func (b bits) at(row int) bool { return b == nil || b[row>>3]>>(row&7)&1 == 1 }

func liftBatch(batch tidemill_plugin_types.Batch) *Batch {
	out := &Batch{rows: int(batch.Rows), columns: make([]buffers, len(batch.Columns))}
	for i, c := range batch.Columns {
		out.columns[i] = buffers{c.Validity.SomeOr(nil), numbersOf[int32](c.Offsets), c.Values}
	}
	return out
}

// Number is what a column of numbers, dates or times holds.
type Number interface {
	int16 | int32 | int64 | uint32 | float32 | float64
}

// numbersOf looks at bytes as numbers. They are little-endian on both sides; Go's allocator aligns what the host writes, and
// what it did not align is copied.
func numbersOf[T Number](from []byte) []T {
	size := int(unsafe.Sizeof(T(0)))
	if len(from) < size {
		return nil
	}
	start := unsafe.Pointer(unsafe.SliceData(from))
	if uintptr(start)%uintptr(size) == 0 {
		return unsafe.Slice((*T)(start), len(from)/size)
	}
	copied := make([]T, len(from)/size)
	copy(bytesOf(copied), from)
	return copied
}

// bytesOf looks at numbers as bytes.
func bytesOf[T Number](from []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(from))), len(from)*int(unsafe.Sizeof(T(0))))
}

// NumberColumn is a handle to a required column of numbers.
type NumberColumn[T Number] struct{ place int }

// Numbers are a column's values in one batch.
type Numbers[T Number] struct {
	validity bits
	values   []T
}

// In gives the column's values in a batch, without copying them.
func (c NumberColumn[T]) In(batch *Batch) Numbers[T] {
	return viewNumbers[T](batch.columns[c.place:])
}

func viewNumbers[T Number](of []buffers) Numbers[T] {
	return Numbers[T]{of[0].validity, numbersOf[T](of[0].values)}
}

// Get gives a row's value; false where it is null.
func (n Numbers[T]) Get(row int) (T, bool) { return n.values[row], n.validity.at(row) }

// Values gives all rows' values; what stands at a null means nothing.
func (n Numbers[T]) Values() []T { return n.values }

// BoolColumn is a handle to a required column of booleans.
type BoolColumn struct{ place int }

// Bools are a column's values in one batch.
type Bools struct{ validity, values bits }

// In gives the column's values in a batch, without copying them.
func (c BoolColumn) In(batch *Batch) Bools { return viewBools(batch.columns[c.place:]) }

func viewBools(of []buffers) Bools { return Bools{of[0].validity, of[0].values} }

// Get gives a row's value; false, false where it is null.
func (b Bools) Get(row int) (value, ok bool) {
	ok = b.validity.at(row)
	return ok && b.values.at(row), ok
}

// TextColumn is a handle to a required column of texts (JSON and numerics too).
type TextColumn struct{ place int }

// Texts are a column's values in one batch.
type Texts struct{ of buffers }

// In gives the column's values in a batch, without copying them.
func (c TextColumn) In(batch *Batch) Texts { return viewTexts(batch.columns[c.place:]) }

func viewTexts(of []buffers) Texts { return Texts{of[0]} }

// Get gives a row's text, without copying it; false where it is null. It may be kept: it then keeps its batch's texts.
func (t Texts) Get(row int) (string, bool) {
	value := t.of.bytes(row)
	return unsafe.String(unsafe.SliceData(value), len(value)), t.of.validity.at(row)
}

// BytesColumn is a handle to a required column of bytes.
type BytesColumn struct{ place int }

// Bytes are a column's values in one batch.
type Bytes struct{ of buffers }

// In gives the column's values in a batch, without copying them.
func (c BytesColumn) In(batch *Batch) Bytes { return viewBytes(batch.columns[c.place:]) }

func viewBytes(of []buffers) Bytes { return Bytes{of[0]} }

// Get gives a row's bytes, without copying them; false where it is null.
func (b Bytes) Get(row int) ([]byte, bool) { return b.of.bytes(row), b.of.validity.at(row) }

func (b buffers) bytes(row int) []byte { return b.values[b.offsets[row]:b.offsets[row+1]] }
