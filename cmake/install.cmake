# Installs what exists, exported as reducenet::NAME for find_package(reducenet COMPONENTS NAME…).
include(CMakePackageConfigHelpers)
foreach(part graph native formats data runtime train)
  if(TARGET reducenet_${part})
    install(TARGETS reducenet_${part} EXPORT reducenet ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
    list(APPEND REDUCENET_COMPONENTS ${part})
  endif()
endforeach()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/reducenet DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/reducenet)
install(EXPORT reducenet NAMESPACE reducenet:: DESTINATION ${package_dir} FILE reducenetTargets.cmake)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/reducenetConfig.cmake.in
  ${PROJECT_BINARY_DIR}/reducenetConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/reducenetConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/reducenetConfig.cmake ${PROJECT_BINARY_DIR}/reducenetConfigVersion.cmake
  DESTINATION ${package_dir})
