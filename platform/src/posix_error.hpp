#pragma once

#include <cerrno>
#include <cstdint>
#include <string_view>

#include "ferry/platform/planted.hpp"
#include "ferry/platform/result.hpp"

namespace ferry::detail {

/// Groups an errno by what the caller must do next.
inline Error posix_error(int number, std::string_view what, std::uint64_t position = 0) {
    Errc code = Errc::io_failed;
    switch (number) {
        case ENOENT:
            code = Errc::not_found;
            break;
        case EEXIST:
            code = Errc::conflict;
            break;
        case ENOSPC:
        case EDQUOT:
        case EFBIG:  // RLIMIT_FSIZE, once SIGXFSZ is ignored
            code = Errc::out_of_space;
            break;
        case EMFILE:  // passes by itself, as a full disk does
        case ENFILE:
            if (!FERRY_PLANTED("log-ends-without-descriptors")) code = Errc::out_of_space;
            break;
        default:
            break;
    }
    return Error{code, number, position, what};
}

}  // namespace ferry::detail
