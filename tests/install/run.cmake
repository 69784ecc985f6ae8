# cmake -DBUILD=… -DSOURCE=… -DWORK=… -P run.cmake: installs BUILD under WORK, then builds and runs the consumer in SOURCE.
function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()
file(REMOVE_RECURSE ${WORK})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix)
run(${CMAKE_COMMAND} -S ${SOURCE} -B ${WORK}/build -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH=${WORK}/prefix
  -DCMAKE_CXX_FLAGS=${CXX_FLAGS})
run(${CMAKE_COMMAND} --build ${WORK}/build)
file(MAKE_DIRECTORY ${WORK}/run)
execute_process(COMMAND ${WORK}/build/consumer WORKING_DIRECTORY ${WORK}/run COMMAND_ERROR_IS_FATAL ANY)
