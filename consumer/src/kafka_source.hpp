#pragma once

#include <memory>
#include <string>

#include "ferry/consumer/source.hpp"

namespace ferry::consumer {

/// open_source() for kafka://.
transport::Answer<std::unique_ptr<Source>> open_kafka(const std::string& url,
                                                      const std::string& name,
                                                      const BrokerSourceOptions& options,
                                                      Duration patience);

/// ensure_queues() for kafka://.
transport::Answer<Done> make_kafka_topics(const std::string& url,
                                          const std::vector<std::string>& queues,
                                          Duration patience);

}  // namespace ferry::consumer
