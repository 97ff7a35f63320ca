// Damage to stored threads: to bytes, to the values that CBOR holds, and to rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "corvid/base/json.hpp"
#include "graphs/damage/store_image.hpp"

namespace corvid::test {

/// SplitMix64: cheap to seed, so that every case has a generator of its own and can be run alone.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed) {}
  std::uint64_t operator()() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  std::size_t below(std::size_t n) { return n == 0 ? 0 : static_cast<std::size_t>((*this)() % n); }
  template <class T>
  T& of(std::vector<T>& list) { return list[below(list.size())]; }

 private:
  std::uint64_t state_;
};

/// Flips, cuts, lengths that lie, nesting, repeats.
void mutate_bytes(Bytes& bytes, Dice& dice);
/// One place of a document becomes another type, an extreme, or goes; strings of bytes inside it are damaged as stored values are.
void mutate_json(Json& json, Dice& dice);
/// A stored value or body: as a document where it is one, or as bytes. `tagged`: a byte stands in front of the document.
void mutate_stored(Bytes& bytes, bool tagged, Dice& dice);
/// One to three rows: missing, exchanged, renamed, out of range, foreign, cyclic.
void mutate_image(StoreImage& image, const std::vector<StoreImage>& others, Dice& dice);

std::int64_t extreme_number(Dice& dice);
/// A name for anything: empty, foreign, long, not UTF-8, with a NUL.
std::string odd_name(Dice& dice);

}  // namespace corvid::test
