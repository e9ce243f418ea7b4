#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "ferry/secure/scram.hpp"
#include "ferry/secure/tls.hpp"
#include "ferry/transport/error.hpp"
#include "ferry/transport/security.hpp"
#include "ferry/transport/url.hpp"
#include "ferry/wire/encoder.hpp"

namespace ferry::transport::native {

/// Signing in, for one connection after the other.
///
/// Threads   make() any; afterwards the I/O thread's.
class Credentials {
public:
    /// Errors    rejected: a file cannot be used, or what is given does not go together.
    static Answer<std::shared_ptr<Credentials>> make(const Security& security, const Url& url);

    /// Null: the connection is plain.
    [[nodiscard]] const std::shared_ptr<secure::TlsContext>& tls() const { return tls_; }
    /// How many options of hello there will be.
    [[nodiscard]] std::uint32_t option_count() const;
    /// Begins an attempt. `channel`: the connection's, null if it is plain.
    void write_options(wire::Encoder& out, const secure::TlsChannel* channel);
    /// What to say to the broker's challenge. Nothing: it is not a sound one.
    [[nodiscard]] std::optional<std::string> answer(std::string_view challenge);
    /// hello was answered, with the msgpack map `result`. False: whoever answered does not know
    /// the password, so it is not the broker.
    [[nodiscard]] bool accepts(Bytes result);

private:
    Security security_;
    std::shared_ptr<secure::TlsContext> tls_;
    std::unique_ptr<secure::ScramClient> scram_;
};

}  // namespace ferry::transport::native
