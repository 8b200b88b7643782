// A binary search for each id.
#include <algorithm>

void kernel(TensorView ids, TensorView table, TensorView out) {
  const int64_t count = ids.size(0);
  const int64_t entries = table.size(0);
  const int64_t* wanted = static_cast<const int64_t*>(ids.data_ptr());
  const int64_t* first = static_cast<const int64_t*>(table.data_ptr());
  int64_t* output = static_cast<int64_t*>(out.data_ptr());

  for (int64_t index = 0; index < count; ++index) {
    const int64_t place = std::lower_bound(first, first + entries, wanted[index]) - first;
    output[index] = place < entries && first[place] == wanted[index] ? place + 1 : 0;
  }
}
