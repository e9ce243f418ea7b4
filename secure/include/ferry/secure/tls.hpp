#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ferry/platform/bytes.hpp"
#include "ferry/platform/result.hpp"
#include "ferry/secure/crypto.hpp"

struct ssl_ctx_st;
struct ssl_st;

/// TLS 1.2 and 1.3 over bytes that somebody else moves; OpenSSL behind it.
namespace ferry::secure {

/// What a handshake may take of a peer that has not proved anything yet.
inline constexpr std::size_t handshake_bytes_max = 128U << 10;

/// Files of a listener, all in PEM.
struct ServerFiles {
    std::string certificate;  // with its chain
    std::string key;
    std::string client_ca;       // whose certificates clients may show; empty: none are asked for
    bool demand_client = false;  // refuse clients without one
    bool operator==(const ServerFiles&) const = default;
};

/// What a client trusts and shows.
struct ClientFiles {
    std::string ca;           // empty: what the system trusts
    std::string certificate;  // with its chain; empty: shows none
    std::string key;
};

/// Certificates and rules, shared by connections.
///
/// Threads   Any; unchanging once made. Lifetime: channels keep it alive.
class TlsContext {
public:
    /// Errors    a sentence with the file's name and what is wrong with it: missing, not PEM, key
    ///           and certificate not a pair, certificate over.
    static ResultOr<std::shared_ptr<TlsContext>, std::string> server(const ServerFiles& files);
    static ResultOr<std::shared_ptr<TlsContext>, std::string> client(const ClientFiles& files);
    ~TlsContext();
    TlsContext(const TlsContext&) = delete;
    TlsContext& operator=(const TlsContext&) = delete;
    /// When the server's certificate is over; seconds since 1970. 0: a client's context.
    [[nodiscard]] std::int64_t expires_at() const { return expires_at_; }

private:
    friend class TlsChannel;
    TlsContext() = default;
    ssl_ctx_st* context_ = nullptr;
    std::int64_t expires_at_ = 0;
};

/// One connection's TLS. Ciphertext in by put(), plaintext out by take(); plaintext in by seal(),
/// ciphertext out in output().
///
/// Threads   One at a time. Memory: nothing grows but output(), by what is sealed.
class TlsChannel {
public:
    static std::unique_ptr<TlsChannel> accept(std::shared_ptr<TlsContext> context);
    /// `host`: the name or numeric address that the broker's certificate must be for.
    static std::unique_ptr<TlsChannel> connect(std::shared_ptr<TlsContext> context,
                                               const std::string& host);
    ~TlsChannel();
    TlsChannel(const TlsChannel&) = delete;
    TlsChannel& operator=(const TlsChannel&) = delete;

    /// The client begins: its first bytes are in output() afterwards.
    void begin();
    /// Hands over what came; call take() until it gives 0 before `cipher` goes.
    void put(Bytes cipher) { input_ = cipher; }
    /// So many bytes of plaintext were written to `plain`. 0: all that came was used up, or
    /// failed(), or ended().
    [[nodiscard]] std::size_t take(MutableBytes plain);
    /// Adds the ciphertext to output(). False: failed(), or the handshake is not over.
    [[nodiscard]] bool seal(Bytes plain);
    /// Waits to be sent, handshake and alerts included. The owner takes it away.
    [[nodiscard]] std::vector<std::byte>& output() { return output_; }

    [[nodiscard]] bool open() const { return open_; }      // the handshake is over
    [[nodiscard]] bool failed() const { return failed_; }  // error() says why
    [[nodiscard]] bool ended() const { return ended_; }    // the peer said that it is done
    /// One sentence for people; no secrets.
    [[nodiscard]] const std::string& error() const { return error_; }
    /// The common name in the peer's certificate, which was checked; empty: it showed none.
    [[nodiscard]] std::string peer_name() const;
    /// Says which connection this is, to both ends and nobody else. Nothing before it is open.
    [[nodiscard]] std::optional<Digest> binding() const;
    [[nodiscard]] std::string version() const;  // "TLSv1.3"

private:
    friend struct Pipe;
    TlsChannel(std::shared_ptr<TlsContext> context, ssl_st* ssl);
    bool shake();
    void fail(const char* doing);

    std::shared_ptr<TlsContext> context_;
    ssl_st* ssl_;
    Bytes input_;
    std::vector<std::byte> output_;
    std::string error_;
    std::size_t shaken_bytes_ = 0;
    bool open_ = false;
    bool failed_ = false;
    bool ended_ = false;
};

}  // namespace ferry::secure
