console.log('fleetseal')
