#include "ferry/transport/url.hpp"

#include <gtest/gtest.h>

namespace ferry::transport {
namespace {

TEST(Url, reads_host_and_port_with_and_without_a_scheme) {
    for (const char* text :
         {"ferry://example.org:7001", "example.org:7001", "ferry://example.org:7001/"}) {
        const auto url = parse_url(text);
        ASSERT_TRUE(url.ok()) << text;
        EXPECT_EQ(url.value().host, "example.org");
        EXPECT_EQ(url.value().port, 7001);
    }
}

TEST(Url, takes_the_usual_port_when_none_is_given) {
    EXPECT_EQ(parse_url("ferry://localhost").value().port, default_port);
}

TEST(Url, reads_and_shows_an_ipv6_address_in_brackets) {
    EXPECT_EQ(parse_url("ferry://[fe80::1%eth0]").value().host, "fe80::1%eth0");
    const auto url = parse_url("ferry://[::1]:7002");
    ASSERT_TRUE(url.ok());
    EXPECT_EQ(url.value().host, "::1");
    EXPECT_EQ(url.value().port, 7002);
    EXPECT_EQ(url.value().text(), "ferry://[::1]:7002");
}

TEST(Url, says_whether_the_connection_is_encrypted) {
    const auto url = parse_url("ferrys://example.org");
    ASSERT_TRUE(url.ok());
    EXPECT_TRUE(url.value().tls);
    EXPECT_EQ(url.value().text(), "ferrys://example.org:7420");
    EXPECT_FALSE(parse_url("ferry://example.org").value().tls);
}

// G117
TEST(Url, has_no_place_for_a_password) {
    const auto url = parse_url("ferrys://alice:secret@example.org");
    ASSERT_FALSE(url.ok());
    EXPECT_EQ(url.error().what.find("secret"), std::string_view::npos);
}

TEST(Url, refuses_what_it_cannot_mean) {
    for (const char* text : {"", "ferry://", "http://x:1", "kafka://x:1", "ferry://x:0",
                             "ferry://x:65536", "ferry://x:12a", "ferry://x:", "ferry://x:1:2",
                             "ferry://[::1", "ferry://[::1]x", "ferry://x/y", "ferry://:7420",
                             "[[1]:7", "[x]:7", "x]:7", "x\ny:7", "ferry://[::1%]:7"}) {
        EXPECT_FALSE(parse_url(text).ok()) << text;
    }
}

}  // namespace
}  // namespace ferry::transport
