#pragma once

#include <algorithm>
#include <optional>
#include <string_view>

#include "ferry/wire/cursor.hpp"
#include "ferry/wire/limits.hpp"
#include "frames.hpp"

// Requests that list things by name, page by page: `after` and how many at most in, rows and
// whether there are more out.
namespace ferry::server::native {

struct ListRequest {
    std::string_view after;
    std::size_t most = 0;
    /// What to ask the engine for: one more than is shown tells whether there are more.
    [[nodiscard]] std::size_t wanted() const { return most + 1; }
};

/// `count` as of the request, with verb and id. Nothing: that is not what the verb demands.
inline std::optional<ListRequest> read_list_request(wire::Cursor& fields, std::uint32_t count) {
    ListRequest list;
    std::uint64_t at_most = 0;
    if (count < 4 || !fields.read_str(list.after) || !fields.read_uint(at_most))
        return std::nullopt;
    list.most =
        static_cast<std::size_t>(std::clamp<std::uint64_t>(at_most, 1, limits::list_page_max));
    return list;
}

// Pages end before the frame limit does, whatever the names' lengths.
inline constexpr std::size_t page_reserve_bytes = 4096;

/// Answers `{name: [rows], more: bool}`. `write_row` takes an encoder and a row.
template <class Rows, class WriteRow>
void write_page(wire::Buffer& out, std::uint64_t request, std::string_view name, const Rows& rows,
                std::size_t most, std::size_t frame_bytes_max, WriteRow&& write_row) {
    wire::Buffer written;
    wire::Encoder encoder(written);
    std::uint32_t count = 0;
    for (const auto& row : rows) {
        if (count == most || written.size() + page_reserve_bytes > frame_bytes_max) break;
        write_row(encoder, row);
        ++count;
    }
    const std::size_t mark = begin_ok(out, request, 2);
    wire::Encoder(out).str(name).array(count).raw(written).str("more").boolean(count < rows.size());
    wire::end_frame(out, mark);
}

}  // namespace ferry::server::native
