# cmake --install: the two programs, the libraries for find_package(ferrymq), configuration and documents.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(ferry_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/ferrymq)
set_target_properties(ferry_platform PROPERTIES EXPORT_NAME platform)
set_target_properties(ferry_wire PROPERTIES EXPORT_NAME wire)
set_target_properties(ferry_secure PROPERTIES EXPORT_NAME secure)
set_target_properties(ferry_transport PROPERTIES EXPORT_NAME transport)
set_target_properties(ferry_kafka PROPERTIES EXPORT_NAME kafka)
set_target_properties(ferry_sqlite PROPERTIES EXPORT_NAME sqlite)
set_target_properties(ferry_outbox PROPERTIES EXPORT_NAME outbox)
set_target_properties(ferry_relay PROPERTIES EXPORT_NAME relay)
set_target_properties(ferry_consumer PROPERTIES EXPORT_NAME consumer)
set_target_properties(ferry_saga PROPERTIES EXPORT_NAME saga)
set_target_properties(ferry_saga_http PROPERTIES EXPORT_NAME saga_http)
install(TARGETS ferry_platform ferry_wire ferry_secure ferry_transport ferry_kafka ferry_sqlite ferry_outbox ferry_relay ferry_consumer ferry_saga ferry_saga_http EXPORT ferrymq
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
foreach(room platform wire secure transport transport/kafka outbox/sqlite outbox outbox/relay consumer saga saga/http)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${room}/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
          COMPONENT development FILES_MATCHING PATTERN "*.hpp")
endforeach()
install(EXPORT ferrymq NAMESPACE ferry:: FILE ferrymqTargets.cmake DESTINATION ${ferry_package_dir}
        COMPONENT development)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/ferrymqConfig.cmake.in
  ${PROJECT_BINARY_DIR}/ferrymqConfig.cmake INSTALL_DESTINATION ${ferry_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/ferrymqConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/ferrymqConfig.cmake ${PROJECT_BINARY_DIR}/ferrymqConfigVersion.cmake
        DESTINATION ${ferry_package_dir} COMPONENT development)

install(TARGETS ferry_outbox_extension LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/ferrymq COMPONENT programs)
install(TARGETS ferryd ferry RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT programs)
install(FILES ${PROJECT_SOURCE_DIR}/config/ferryd.toml DESTINATION ${CMAKE_INSTALL_SYSCONFDIR}/ferrymq
        COMPONENT programs)
foreach(unit ferryd.service ferry-relay@.service)
  configure_file(${PROJECT_SOURCE_DIR}/config/${unit} ${PROJECT_BINARY_DIR}/${unit} @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${unit} DESTINATION lib/systemd/system COMPONENT programs)
endforeach()
install(FILES ${PROJECT_SOURCE_DIR}/config/prometheus.yml ${PROJECT_SOURCE_DIR}/config/alerts.yml
        ${PROJECT_SOURCE_DIR}/config/outbox-alerts.yml
        ${PROJECT_SOURCE_DIR}/config/saga-alerts.yml
        ${PROJECT_SOURCE_DIR}/config/kafka-alerts.yml ${PROJECT_SOURCE_DIR}/config/kafka.conf
        DESTINATION ${CMAKE_INSTALL_DATADIR}/ferrymq COMPONENT programs)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/config/grafana DESTINATION ${CMAKE_INSTALL_DATADIR}/ferrymq
        COMPONENT programs)
install(FILES ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/CHANGELOG.md ${PROJECT_SOURCE_DIR}/LICENSE
        DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT programs)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs COMPONENT programs)
