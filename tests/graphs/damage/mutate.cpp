#include "graphs/damage/mutate.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace corvid::test {
namespace {

constexpr std::byte as_byte(std::uint64_t n) { return static_cast<std::byte>(n); }

Json odd_value(Dice& dice) {
  switch (dice.below(16)) {
    case 0: return nullptr;
    case 1: return true;
    case 2: return extreme_number(dice);
    case 3: return std::numeric_limits<std::uint64_t>::max();
    case 4: return -1;
    case 5: return 0.5;
    case 6: return std::numeric_limits<double>::infinity();
    case 7: return std::numeric_limits<double>::quiet_NaN();
    case 8: return Json::array();
    case 9: return Json::object();
    case 10: return Json::array({1, "x", nullptr});
    case 11: return Json{{"id", "x"}, {"role", "remove"}};
    case 12: return Json::binary({0x4a, 0x01});
    case 13: {
      Json deep = 1;
      for (int i = 0; i < 100; ++i) deep = Json::array({std::move(deep)});
      return deep;
    }
    default: return odd_name(dice);
  }
}

std::size_t places_in(const Json& json) {
  std::size_t n = 1;
  if (json.is_structured()) {
    for (const auto& each : json) n += places_in(each);
  }
  return n;
}

// The place of this number, children after their parent; and what holds it.
std::pair<Json*, Json*> place_of(Json& json, std::size_t& number, Json* parent = nullptr) {
  if (number == 0) return {&json, parent};
  --number;
  if (json.is_structured()) {
    for (auto& each : json) {
      if (auto found = place_of(each, number, &json); found.first) return found;
    }
  }
  return {nullptr, nullptr};
}

std::string odd_id(const Space& space, Dice& dice) {
  switch (dice.below(6)) {
    case 0: return "";
    case 1: return "ffffffffffffffffffffffffffffffff";
    case 2: return "zz";
    case 3: return odd_name(dice);
    default: return space.checkpoints.empty() ? "x" : space.checkpoints[dice.below(space.checkpoints.size())].id;
  }
}

std::uint64_t odd_version(Dice& dice) {
  static constexpr std::array<std::uint64_t, 7> versions{0, 1, 2, 3, std::uint64_t{1} << 63, std::numeric_limits<std::uint64_t>::max() - 1,
                                                        std::numeric_limits<std::uint64_t>::max()};
  return versions[dice.below(versions.size())];
}

void mutate_record(Space& space, CheckpointRecord& record, Dice& dice) {
  switch (dice.below(9)) {
    case 0: record.id = odd_id(space, dice); break;
    case 1: record.parent_id = odd_id(space, dice); break;  // its own, a later one: cycles too
    case 2: record.step = dice.below(2) == 0 ? extreme_number(dice) : record.step + static_cast<std::int64_t>(dice.below(5)) - 2; break;
    case 3: record.source = odd_name(dice); break;
    case 4: record.created_ms = extreme_number(dice); break;
    case 5:
      if (!record.channels.empty()) dice.of(record.channels).version = odd_version(dice);
      break;
    case 6:
      if (!record.channels.empty()) record.channels.erase(record.channels.begin() + static_cast<std::ptrdiff_t>(dice.below(record.channels.size())));
      break;
    case 7:
      if (!record.channels.empty()) record.channels.push_back(dice.of(record.channels));
      break;
    default:
      if (!record.channels.empty()) dice.of(record.channels).channel = odd_name(dice);
      break;
  }
}

void mutate_blob(Space& space, ChannelBlob& blob, Dice& dice) {
  switch (dice.below(7)) {
    case 0: blob.base_version = blob.version; break;  // a cycle of one
    case 1: blob.base_version = odd_version(dice); break;
    case 2: blob.version = odd_version(dice); break;
    case 3: blob.channel = odd_name(dice); break;
    case 4: std::swap(blob.bytes, dice.of(space.blobs).bytes); break;
    case 5: {
      auto& other = dice.of(space.blobs);  // a cycle of two, where the channel is the same
      blob.base_version = other.version;
      other.base_version = blob.version;
      break;
    }
    default: std::swap(blob.channel, dice.of(space.blobs).channel); break;
  }
}

void mutate_write(Space& space, PendingWrite& write, Dice& dice) {
  switch (dice.below(5)) {
    case 0: write.checkpoint_id = odd_id(space, dice); break;
    case 1: write.task_id = dice.of(space.writes).task_id; break;
    case 2: write.index = static_cast<std::int32_t>(extreme_number(dice)); break;
    case 3: write.channel = odd_name(dice); break;
    default: std::swap(write.bytes, dice.of(space.writes).bytes); break;
  }
}

void mutate_question(InterruptRecord& asked, const Space& space, Dice& dice) {
  switch (dice.below(8)) {
    case 0: asked.id = odd_name(dice); break;
    case 1: asked.ns = odd_name(dice); break;
    case 2: asked.checkpoint_id = odd_id(space, dice); break;
    case 3: asked.task_id = odd_name(dice); break;
    case 4: asked.asked_ms = extreme_number(dice); break;
    case 5: asked.expires_ms = extreme_number(dice); break;
    case 6: asked.node = odd_name(dice); break;
    default: mutate_stored(asked.body, false, dice); break;
  }
}

void mutate_answer(StoredAnswer& stored, const Space& space, Dice& dice) {
  switch (dice.below(5)) {
    case 0: stored.answer.interrupt_id = odd_name(dice); break;
    case 1: stored.checkpoint_id = odd_id(space, dice); break;
    case 2: stored.answer.by = odd_name(dice); break;
    case 3: stored.answer.answered_ms = extreme_number(dice); break;
    default: mutate_stored(stored.answer.body, false, dice); break;
  }
}

template <class T>
void drop_one(std::vector<T>& list, Dice& dice) {
  if (!list.empty()) list.erase(list.begin() + static_cast<std::ptrdiff_t>(dice.below(list.size())));
}

// Most damage goes to where a run would go on: the newest checkpoint.
CheckpointRecord& some_record(Space& space, Dice& dice) {
  return dice.below(3) != 0 ? space.checkpoints.back() : dice.of(space.checkpoints);
}

}  // namespace

std::int64_t extreme_number(Dice& dice) {
  using Limits = std::numeric_limits<std::int64_t>;
  static constexpr std::array<std::int64_t, 14> numbers{0,  1,  -1, -2, 2, 1'000'000, -1'000'000, Limits::max(), Limits::min(), Limits::max() - 1, Limits::min() + 1,
                                                        std::int64_t{1} << 31, -(std::int64_t{1} << 31) - 1, std::int64_t{1} << 53};
  return dice.below(4) == 0 ? static_cast<std::int64_t>(dice()) : numbers[dice.below(numbers.size())];
}

std::string odd_name(Dice& dice) {
  switch (dice.below(14)) {
    case 0: return "";
    case 1: return std::string("a\0b", 3);
    case 2: return "\xff\xfe";
    case 3: return std::string(5'000, 'x');
    case 4: return "__shape";
    case 5: return "__start__";
    case 6: return "__end__";
    case 7: return "trail";
    case 8: return "messages";
    case 9: return "inner";
    case 10: return "begin";
    case 11: return "round";
    case 12: return "\xe2\x82";
    default: return "nowhere";
  }
}

void mutate_bytes(Bytes& bytes, Dice& dice) {
  const auto at = dice.below(bytes.size() + 1);
  const auto place = bytes.begin() + static_cast<std::ptrdiff_t>(at);
  switch (dice.below(9)) {
    case 0:
    case 1:
      if (at < bytes.size()) bytes[at] ^= as_byte(std::uint64_t{1} << dice.below(8));
      break;
    case 2:
      if (at < bytes.size()) bytes[at] = as_byte(dice());
      break;
    case 3: bytes.resize(at); break;
    case 4: {  // heads of every kind, with lengths that nothing follows
      static constexpr std::array<std::uint8_t, 14> heads{0x9b, 0xbb, 0x5b, 0x7b, 0x9f, 0xbf, 0x5f, 0x7f, 0xff, 0xc0, 0xf9, 0xfb, 0x1b, 0x3b};
      Bytes head(1 + dice.below(9), as_byte(dice.below(2) == 0 ? 0xff : 0));
      head[0] = as_byte(heads[dice.below(heads.size())]);
      if (dice.below(2) == 0) {
        std::copy_n(head.begin(), std::min(head.size(), bytes.size() - at), place);
      } else {
        bytes.insert(place, head.begin(), head.end());
      }
      break;
    }
    case 5: bytes.insert(place, 1 + dice.below(2'000), as_byte(dice.below(2) == 0 ? 0x81 : 0xa1)); break;
    case 6: bytes.erase(place, place + static_cast<std::ptrdiff_t>(dice.below(std::min<std::size_t>(16, bytes.size() - at) + 1))); break;
    case 7: {
      const Bytes again(place, place + static_cast<std::ptrdiff_t>(dice.below(std::min<std::size_t>(40, bytes.size() - at) + 1)));
      bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(dice.below(bytes.size() + 1)), again.begin(), again.end());
      break;
    }
    default: bytes.clear(); break;
  }
}

namespace {

// Discarded where it is none. nlohmann_json throws for absurd lengths even where it is told not to.
Json read_cbor(const Bytes& bytes, std::size_t from) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  try {
    return Json::from_cbor(data + from, data + bytes.size(), true, false);
  } catch (const Json::exception&) {
    return Json(Json::value_t::discarded);
  }
}

void write_cbor(const Json& json, Bytes& bytes, std::size_t from) {
  const auto cbor = Json::to_cbor(json);
  bytes.resize(from);
  const auto* first = reinterpret_cast<const std::byte*>(cbor.data());
  bytes.insert(bytes.end(), first, first + cbor.size());
}

}  // namespace

void mutate_json(Json& json, Dice& dice) {
  auto number = dice.below(places_in(json));
  const auto [place, parent] = place_of(json, number);
  if (place->is_binary() && dice.below(4) != 0) {
    auto& held = place->get_binary();
    Bytes bytes(held.size());
    std::transform(held.begin(), held.end(), bytes.begin(), [](std::uint8_t b) { return std::byte{b}; });
    mutate_stored(bytes, true, dice);
    held.resize(bytes.size());
    std::transform(bytes.begin(), bytes.end(), held.begin(), [](std::byte b) { return std::to_integer<std::uint8_t>(b); });
    return;
  }
  switch (dice.below(6)) {
    case 0:
      if (place->is_object()) {
        (*place)[odd_name(dice)] = odd_value(dice);
      } else if (place->is_array()) {
        place->push_back(odd_value(dice));
      } else {
        *place = odd_value(dice);
      }
      break;
    case 1:
      if (place->is_structured() && !place->empty()) {
        place->erase(std::next(place->begin(), static_cast<std::ptrdiff_t>(dice.below(place->size()))));
      } else {
        *place = odd_value(dice);
      }
      break;
    case 2:
      if (parent && !parent->empty()) {  // siblings exchanged
        auto other = std::next(parent->begin(), static_cast<std::ptrdiff_t>(dice.below(parent->size())));
        if (&*other != place) std::swap(*place, *other);
      }
      break;
    default: *place = odd_value(dice); break;
  }
}

void mutate_stored(Bytes& bytes, bool tagged, Dice& dice) {
  const std::size_t head = tagged ? 1 : 0;
  if (bytes.size() <= head || dice.below(3) == 0) return mutate_bytes(bytes, dice);
  Json json = read_cbor(bytes, head);
  if (json.is_discarded()) return mutate_bytes(bytes, dice);
  mutate_json(json, dice);
  write_cbor(json, bytes, head);
  if (tagged && dice.below(16) == 0) bytes[0] = as_byte(dice.below(2) == 0 ? 'J' : 'M');
}

void mutate_image(StoreImage& image, const std::vector<StoreImage>& others, Dice& dice) {
  for (auto times = 1 + dice.below(3); times > 0; --times) {
    if (image.spaces.empty()) return;
    auto& space = dice.of(image.spaces);
    switch (dice.below(20)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
        if (!space.checkpoints.empty()) mutate_stored(some_record(space, dice).body, false, dice);
        break;
      case 5:
      case 6:
        if (!space.checkpoints.empty()) mutate_record(space, some_record(space, dice), dice);
        break;
      case 7:
      case 8:
      case 9: {
        if (space.blobs.empty()) break;
        auto& blob = dice.of(space.blobs);
        mutate_stored(blob.bytes, blob.base_version == 0 && blob.channel != "__shape", dice);
        break;
      }
      case 10:
        if (!space.blobs.empty()) mutate_blob(space, dice.of(space.blobs), dice);
        break;
      case 11:
      case 12:
        if (!space.writes.empty()) mutate_stored(dice.of(space.writes).bytes, false, dice);
        break;
      case 13:
        if (!space.writes.empty()) mutate_write(space, dice.of(space.writes), dice);
        break;
      case 14:
        if (!image.open.empty()) mutate_question(dice.of(image.open), space, dice);
        break;
      case 15:
        if (!image.answers.empty()) mutate_answer(dice.of(image.answers), space, dice);
        break;
      case 16:
        if (dice.below(2) == 0) drop_one(space.blobs, dice);
        else drop_one(space.checkpoints, dice);
        break;
      case 17: {  // rows of a foreign thread, or of another namespace
        const auto& other = others[dice.below(others.size())];
        if (other.spaces.empty()) break;
        const auto& from = other.spaces[dice.below(other.spaces.size())];
        if (dice.below(2) == 0) space.blobs = from.blobs;
        else if (!from.checkpoints.empty()) space.checkpoints.push_back(from.checkpoints.back());
        break;
      }
      case 18: space.ns = odd_name(dice); break;
      default:  // a signature that no longer fits has the shape read
        if (!space.checkpoints.empty()) {
          for (auto& blob : space.blobs) {
            if (blob.channel == "__shape") mutate_stored(blob.bytes, false, dice);
          }
          auto& body = some_record(space, dice).body;
          Json json = read_cbor(body, 0);
          if (!json.is_object()) break;
          json["signature"] = "another";
          write_cbor(json, body, 0);
        }
        break;
    }
  }
}

}  // namespace corvid::test
