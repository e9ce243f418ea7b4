#include "ferry/transport/kafka/settings.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

namespace ferry::transport::kafka {
namespace {

std::string written(const std::string& name, const std::string& text, mode_t mode = 0600) {
    const std::string path = testing::TempDir() + name;
    std::ofstream(path) << text;
    ::chmod(path.c_str(), mode);
    return path;
}

TEST(KafkaSettings, AUrlNamesSeveralHosts) {
    const auto read = read_url("kafka://one:9092,two,[::1]:9093/");
    ASSERT_TRUE(read.ok()) << read.error().text;
    EXPECT_EQ(read.value().brokers, "one:9092,two,[::1]:9093");
    EXPECT_EQ(read.value().topic_of("orders"), "orders");
}

TEST(KafkaSettings, WhatIsNoUrlIsRefusedWithTheForm) {
    for (const char* const url :
         {"kafka://", "kafka://:9092", "kafka://a:0", "kafka://a:99999", "kafka://a b",
          "kafka://a?x=1", "kafka://u:p@a:9092", "kafka://a?options=", "ferry://a"}) {
        const auto read = read_url(url);
        ASSERT_FALSE(read.ok()) << url;
        EXPECT_EQ(read.error().code, Errc::rejected);
        EXPECT_NE(read.error().text.find("kafka://HOST:PORT"), std::string::npos) << url;
    }
}

TEST(KafkaSettings, TheOptionsFileGivesSettingsTopicsAndPartitions) {
    const std::string path = written("kafka-options",
                                     "# ours\nsecurity.protocol = SASL_SSL\nsasl.password=geheim\n"
                                     "topic.billing = shop-events\npartitions.shop-events = 12\n");
    const auto read = read_url("kafka://a:1?options=" + path);
    ASSERT_TRUE(read.ok()) << read.error().text;
    EXPECT_EQ(read.value().properties.size(), 2U);
    EXPECT_EQ(read.value().topic_of("billing"), "shop-events");
    EXPECT_EQ(read.value().partitions.at("shop-events"), 12U);
}

TEST(KafkaSettings, AFileWithASecretThatOthersMayReadIsRefused) {
    const std::string path = written("kafka-open", "sasl.password = geheim\n", 0644);
    const auto read = read_url("kafka://a:1?options=" + path);
    ASSERT_FALSE(read.ok());
    EXPECT_NE(read.error().text.find("chmod 600"), std::string::npos);
    EXPECT_EQ(read.error().text.find("geheim"), std::string::npos);
}

TEST(KafkaSettings, SettingsThatDeliveryDependsOnCannotBeChanged) {
    for (const char* const line :
         {"acks = 0", "enable.idempotence=false", "enable.auto.commit=true", "group.id = x",
          "plugin.library.paths = /tmp/x", "nonsense"}) {
        const std::string path = written("kafka-bad", std::string("# first\n") + line + "\n");
        const auto read = read_url("kafka://a:1?options=" + path);
        ASSERT_FALSE(read.ok()) << line;
        EXPECT_NE(read.error().text.find(":2: "), std::string::npos) << read.error().text;
    }
}

TEST(KafkaSettings, AFileThatIsNotThereIsNamed) {
    const auto read = read_url("kafka://a:1?options=/nowhere/kafka.conf");
    ASSERT_FALSE(read.ok());
    EXPECT_NE(read.error().text.find("/nowhere/kafka.conf"), std::string::npos);
}

}  // namespace
}  // namespace ferry::transport::kafka
