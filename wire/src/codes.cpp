#include "ferry/wire/codes.hpp"

namespace ferry::wire {
namespace {
constexpr CodeInfo table[] = {
#define FERRY_CODE_ROW(number, name, text, retry, meaning) {Code::name, text, retry, meaning},
    FERRY_CODES(FERRY_CODE_ROW)
#undef FERRY_CODE_ROW
};
constexpr CodeInfo success{Code::ok, "OK", false, "done"};
constexpr CodeInfo unknown{Code::internal, "UNKNOWN", false, "this client does not know the code"};
}  // namespace

const CodeInfo& code_info(Code code) {
    if (code == Code::ok) return success;
    for (const CodeInfo& row : table) {
        if (row.code == code) return row;
    }
    return unknown;
}

}  // namespace ferry::wire
